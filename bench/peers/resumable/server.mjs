// resumable-stream as its README uses it: `produce` holds the running streams, `serve` resumes them for viewers.
//     node server.mjs produce|serve PORT SESSIONS        (REDIS_URL)
// `produce` takes lines `<session> <payload>` behind a first line `PUB`.
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { createClient } from "redis";
import { createResumableStreamContext } from "resumable-stream";

const [mode, port, sessions] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const [publisher, subscriber] = [createClient({ url: process.env.REDIS_URL }), createClient({ url: process.env.REDIS_URL })];
await Promise.all([publisher.connect(), subscriber.connect()]);
const context = createResumableStreamContext({ waitUntil: null, publisher, subscriber });

async function drain(stream) {
  for await (const _ of stream);
}

async function produce() {
  const controllers = [];
  for (let i = 0; i < sessions; i++) {
    const source = () => new ReadableStream({ start: (controller) => { controllers[i] = controller; } });
    drain(await context.createNewResumableStream(`s${i}`, source));
  }
  createServer((socket) => {
    createInterface({ input: socket }).on("line", (line) => {
      const space = line.indexOf(" ");
      if (space > 0) controllers[Number(line.slice(0, space))].enqueue(`data: ${line.slice(space + 1)}\n\n`);
    });
  }).listen(port, "127.0.0.1");
}

async function answer(request, response) {
  const url = new URL(request.url, "http://localhost");
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  response.flushHeaders();
  const stream = await context.resumeExistingStream(`s${url.pathname.slice(1)}`, Number(url.searchParams.get("skip") ?? 0));
  if (!stream) return response.end();
  const reader = stream.getReader();
  response.on("close", () => reader.cancel().catch(() => {}));
  for (;;) {
    const { done, value } = await reader.read();
    if (done || response.destroyed) break;
    if (value && !response.write(value)) await new Promise((resolve) => response.once("drain", resolve).once("close", resolve));
  }
  response.end();
}

function serve() {
  createHttpServer((request, response) => answer(request, response).catch(() => response.destroy()))
    .listen({ port, host: "127.0.0.1", backlog: 4096 });
}

process.on("unhandledRejection", () => {});
await (mode === "produce" ? produce() : serve());
