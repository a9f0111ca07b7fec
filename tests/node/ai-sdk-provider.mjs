// Holds a conversation with the model `writer` by the AI SDK's own provider for OpenAI, with its default settings, and
// prints the text of each turn as a line of JSON: `node ai-sdk-provider.mjs '{"base": …, "turns": …}'`.
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, streamText } from 'ai';

const { base, turns } = JSON.parse(process.argv[2]);
const model = createOpenAI({ baseURL: base, apiKey: 'none' })('writer');
const messages = [];

for (let turn = 0; turn < turns; turn += 1) {
  messages.push({ role: 'user', content: `question ${turn}` });
  const result = turn % 2 ? streamText({ model, messages, maxRetries: 0 }) : await generateText({ model, messages, maxRetries: 0 });
  console.log(JSON.stringify(await result.text));
  messages.push(...((await result.response).messages ?? (await result.responseMessages)));
}
