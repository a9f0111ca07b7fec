// Reads UI message streams with `ai` 6 or 7, as `useChat` does, and prints what each became.
//
//   node ai-sdk-read.mjs v6|v7 file …
//
// A line of JSON for each file: {"message", "errors"}.
import { readFileSync } from 'node:fs';

const [version, ...files] = process.argv.slice(2);
const { DefaultChatTransport, readUIMessageStream } = await import(version === 'v6' ? 'ai-v6' : 'ai');

for (const file of files) {
  const errors = [];
  const fetch = async () => new Response(readFileSync(file));
  const transport = new DefaultChatTransport({ api: 'http://localhost/', fetch });
  const stream = await transport.reconnectToStream({ chatId: 'chat' });
  let message = null;
  const onError = (error) => { errors.push(error.message ?? String(error)); };
  for await (const state of readUIMessageStream({ stream, onError })) message = state;
  console.log(JSON.stringify({ message, errors }));
}
