// A real HTTP server whose answers a test writes down: `serve(t, [answer, …])`, one per request, the last one for all
// further requests. An answer is `{status, headers, body, events, end}` or a function of the request.
import { once } from "node:events";
import { createServer } from "node:http";

/** `id` and `event` as a frame of an event stream. */
export const frame = (id, event) => `${id ? `id: ${id}\n` : ""}data: ${JSON.stringify(event)}\n\n`;

/** A stream that says `pieces` and ends, is cut (`end: "cut"`) or stays open (`end: "open"`). */
export const stream = (pieces, end = "end") => ({ headers: { "Content-Type": "text/event-stream" }, pieces, end });

export const json = (status, body, headers = {}) => ({
  status,
  headers: { "Content-Type": "application/json", ...headers },
  pieces: [JSON.stringify(body)],
});

export async function serve(t, answers) {
  const requests = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    const url = new URL(request.url, "http://server");
    const seen = { method: request.method, path: url.pathname, query: Object.fromEntries(url.searchParams), headers: request.headers };
    requests.push({ ...seen, body: body && JSON.parse(body) });
    const answer = answers[Math.min(requests.length, answers.length) - 1];
    const { status = 200, headers = {}, pieces = [], end } = typeof answer === "function" ? answer(seen) : answer;
    if (status === 0) return response.destroy();
    response.writeHead(status, headers);
    response.flushHeaders();
    for (const piece of pieces) await new Promise((written) => response.write(piece, written));
    if (end === "cut") response.destroy();
    else if (end !== "open") response.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, requests };
}

/** All that an iterator yields. */
export async function all(iterator) {
  const found = [];
  for await (const each of iterator) found.push(each);
  return found;
}

/** Wait until a condition holds. Fails after 10 s. */
export async function until(holds) {
  for (const deadline = Date.now() + 10_000; !holds(); await new Promise((go) => setTimeout(go, 5))) {
    if (Date.now() > deadline) throw new Error(`not so in time: ${holds}`);
  }
}
