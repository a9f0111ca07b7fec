// Calls a gateway with OpenAI's own client, as the tests ask: `node openai.mjs '{"base": …, "call": …}'`. Prints one
// line of JSON for each event, then `{"final": …}`, or `{"error": …}`.
import OpenAI from "openai";

const { base, call, body, id, after, stopAt, headers, apiKey = "none" } = JSON.parse(process.argv[2]);
const client = new OpenAI({ baseURL: base, apiKey, maxRetries: 0, defaultHeaders: headers });
const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");

async function read(stream) {
  for await (const event of stream) {
    print({ event });
    if (stopAt !== undefined && event.sequence_number === stopAt) break;
  }
}

async function whole(answer) {
  if (!body.stream) return answer;
  await read(answer);
  return null;
}

const calls = {
  async response() {
    const stream = client.responses.stream(body);
    await read(stream);
    return stream.finalResponse();
  },
  create: async () => whole(await client.responses.create(body)),
  async replay() {
    const stream = client.responses.stream({ response_id: id });
    await read(stream);
    return stream.finalResponse();
  },
  async resume() {
    await read(await client.responses.retrieve(id, { stream: true, starting_after: after }));
    return null;
  },
  // Reads a response from its beginning to its end, and goes on after the last event when it is cut.
  async endure() {
    let [cuts, last, ended] = [0, undefined, false];
    while (!ended) {
      try {
        const cursor = last === undefined ? {} : { starting_after: last };
        for await (const event of await client.responses.retrieve(id, { stream: true, ...cursor })) {
          print({ event });
          last = event.sequence_number;
          ended = ["response.completed", "response.failed", "response.incomplete"].includes(event.type);
        }
        if (!ended) throw new Error("ended early as if it were finished");
      } catch (error) {
        if (error.message.startsWith("ended early")) throw error;
        cuts += 1;
      }
    }
    return { cuts };
  },
  retrieve: () => client.responses.retrieve(id),
  cancel: () => client.responses.cancel(id),
  async completion() {
    const stream = client.chat.completions.stream(body);
    await read(stream);
    return stream.finalChatCompletion();
  },
  complete: async () => whole(await client.chat.completions.create(body)),
  models: async () => (await client.models.list()).data,
};

try {
  print({ final: await calls[call]() });
} catch (error) {
  print({ error: { name: error.constructor.name, status: error.status, code: error.code, message: error.message } });
}
process.exit(0);
