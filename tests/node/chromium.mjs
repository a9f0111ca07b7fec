// Finds a Chromium for the tests and prints how to launch it, as playwright-core's launch() takes it:
//     {"executablePath": "…", "args": ["…"], "env": {"…": "…"}}
// One that is installed wins. Otherwise @sparticuz/chromium brings a headless shell (Linux x64), unpacked once into
// .cache/chromium, with the system libraries that a bare machine lacks.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";
const ARGS = process.getuid() === 0 ? ["--no-sandbox"] : [];
// The package's own configuration names folders under /tmp; without any font Chromium ends at the first character.
const FONTS = '<fontconfig><dir prefix="relative">fonts</dir></fontconfig>';
const CACHE = fileURLToPath(new URL("../../.cache/chromium", import.meta.url));

function fail(reason) {
  console.error(`holdfast: no Chromium for the browser tests: ${reason}`);
  process.exit(1);
}

// What the browser says when asked for its version; an empty error when it starts.
function errorOf(executablePath, env) {
  const result = spawnSync(executablePath, ["--version"], { env: { ...process.env, ...env }, encoding: "utf8" });
  return result.status === 0 ? "" : (result.stderr || String(result.error ?? result.signal)).trim().split("\n").at(-1);
}

function installed() {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const candidates = [...NAMES.flatMap((name) => folders.map((folder) => join(folder, name))), MAC];
  const executablePath = candidates.find((path) => existsSync(path) && !errorOf(path, {}));
  return executablePath && { executablePath, args: ARGS, env: {} };
}

async function bundled() {
  if (process.platform !== "linux" || process.arch !== "x64") fail("install Chromium or Chrome and put it on PATH");
  mkdirSync(CACHE, { recursive: true });
  process.env.TMPDIR = CACHE; // the package unpacks there, under fixed names
  const { default: chromium, inflate } = await import("@sparticuz/chromium");
  const executablePath = await chromium.executablePath();
  const args = [...ARGS, "--no-zygote", "--disable-gpu"];
  const fonts = join(CACHE, "fonts", "fonts.conf");
  if (readFileSync(fonts, "utf8") !== FONTS) writeFileSync(fonts, FONTS);
  const env = { FONTCONFIG_PATH: join(CACHE, "fonts") };
  if (!errorOf(executablePath, env)) return { executablePath, args, env };

  await inflate(join(dirname(fileURLToPath(import.meta.resolve("@sparticuz/chromium"))), "..", "bin", "al2023.tar.br"));
  env.LD_LIBRARY_PATH = join(CACHE, "al2023", "lib");
  const error = errorOf(executablePath, env);
  if (error) fail(`the one from npm does not start: ${error}`);
  return { executablePath, args, env };
}

console.log(JSON.stringify(installed() ?? (await bundled())));
