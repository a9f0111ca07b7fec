// Drives a Chromium for tests/support/browser.py: a line of JSON in is one call, `[id, object, "keyboard.press", args]`,
// a line out its outcome, `[id, error, value]`. Contexts, pages and CDP sessions stay here and go by
// name. What a page throws, and what its policy forbids, comes as `[0, message, null]`. The end of the input ends the browser.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { chromium } = createRequire(new URL("../node/", import.meta.url))("playwright-core");
const browser = await chromium.launch(JSON.parse(process.argv[2]));
const objects = { browser };

const say = (id, error, value) => process.stdout.write(`${JSON.stringify([id, error, value])}\n`);

function named(value) {
  const name = `object-${Object.keys(objects).length}`;
  objects[name] = value;
  return name;
}

function watch(page) {
  page.on("pageerror", (error) => say(0, String(error), null));
  page.on("console", (message) => {
    if (/Content Security Policy|TrustedHTML/.test(message.text())) say(0, message.text(), null);
  });
}

function plain(method, value) {
  if (method === "newPage") watch(value);
  if (["newPage", "newContext", "newCDPSession"].includes(method)) return named(value);
  return method === "evaluate" ? (value ?? null) : null;
}

async function call([id, name, path, args]) {
  try {
    const steps = path.split(".");
    const method = steps.pop();
    const owner = steps.reduce((object, step) => object[step], objects[name]);
    const given = method === "newCDPSession" ? args.map((arg) => objects[arg]) : args;
    say(id, null, plain(method, await owner[method](...given)));
  } catch (error) {
    say(id, String(error), null);
  }
}

const input = createInterface({ input: process.stdin });
input.on("line", (line) => call(JSON.parse(line)));
input.on("close", () => browser.close().finally(() => process.exit()));
browser.on("disconnected", () => process.exit()); // it has crashed, or was closed
say(0, null, null);
