// Builds and serves the pages, and runs Holdfast until it ends. The arguments are those of `holdfast dev`.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { context } from "esbuild";
import "./build.mjs";

const { PAGES_PORT: port = "8080" } = process.env;
const pages = `http://127.0.0.1:${port}`;
const server = await context({});
await server.serve({ host: "127.0.0.1", port: Number(port), servedir: import.meta.dirname });

const command = join(import.meta.dirname, "..", "..", "scripts", "run");
const env = { ...process.env, HOLDFAST_CORS_ORIGINS: `${pages},http://localhost:${port}` };
const holdfast = spawn(command, process.argv.slice(2), { env, stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => holdfast.kill(signal));
holdfast.on("exit", (code) => process.exit(code ?? 1));
console.log(`The pages are at ${pages}`);
