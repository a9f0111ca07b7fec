// Builds the pages that use React, and the module with the gateway's address.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const address = `http://127.0.0.1:${process.env.HOLDFAST_PORT ?? 8000}`;
mkdirSync(join(import.meta.dirname, "build"), { recursive: true });
writeFileSync(join(import.meta.dirname, "build", "gateway.js"), `export const address = ${JSON.stringify(address)};\n`);

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
