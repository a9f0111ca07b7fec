// Follows a job to its end, across cuts: `node follow.mjs '{"client": "websocket" | "js", "url", "session", "job", "ticket"}'`.
// Prints a line of JSON for each message ({"event"}, the platform's own WebSocket) or state ({"message"}, the client
// library).
import { Client } from '../../clients/js/src/index.js';

const { client, url, session, job, ticket } = JSON.parse(process.argv[2]);
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const ENDS = ['job.completed', 'job.failed', 'job.cancelled'];

async function websocket() {
  let [cursor, ended] = ['', false];
  while (!ended) {
    const query = (ticket ? `&ticket=${ticket}` : '') + (cursor && `&last_event_id=${cursor}`);
    const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/sessions/${session}/ws?raw=true${query}`);
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (!event.id) return;
      print({ event });
      cursor = event.id;
      ended ||= event.job_id === job && ENDS.includes(event.type);
      if (ended) socket.close(1000);
    };
    await new Promise((resolve) => { socket.onclose = resolve; });
    if (!ended) await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const js = () => new Promise((resolve) => {
  new Client(url).session(session).subscribe(({ messages }) => {
    const message = messages.find(({ job_id, role }) => job_id === job && role === 'assistant');
    if (!message) return;
    print({ message });
    if (message.ended_at) resolve();
  });
});

await { websocket, js }[client]();
process.exit(0);
