// Reads streams with AG-UI's client and its checks: a line of JSON for each file, {"messages", "error", "failed"}.
import { readFileSync } from 'node:fs';
import { HttpAgent } from '@ag-ui/client';

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
for (const method of ['log', 'warn', 'error']) console[method] = (...words) => process.stderr.write(`${words.join(' ')}\n`);
for (const file of process.argv.slice(2)) {
  const body = readFileSync(file, 'utf8').replace(/(END|CUT)\n$/, '');
  const headers = { 'content-type': 'text/event-stream' };
  const agent = new HttpAgent({ url: 'http://unused', fetch: async () => new Response(body, { headers }) });
  let error = null;
  let failed = null;
  agent.subscribe({ onRunErrorEvent: ({ event }) => { error = event.message; } });
  await agent.runAgent().catch((reason) => { failed = reason.message; });
  say({ messages: agent.messages, error, failed });
}
