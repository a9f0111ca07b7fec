// Builds the pages that use React.
import { build } from "esbuild";

await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: ["react.jsx", "ai-sdk.jsx", "copilotkit.jsx"],
  outdir: "build",
  bundle: true,
  format: "esm",
  splitting: true,
  minify: true,
  jsx: "automatic",
  preserveSymlinks: true, // holdfast-client is a link, and uses the React of these pages
  define: { "process.env.NODE_ENV": '"production"' },
  loader: { ".ttf": "file", ".woff": "file", ".woff2": "file" },
  logLevel: "warning",
});
