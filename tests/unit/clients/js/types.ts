// A program against the published types. tsc checks it; each @ts-expect-error must be one.
import { Client, HoldfastError, type JobMessage, type Part, type SessionState } from "holdfast-client";

const client = new Client("http://localhost", { headers: async ({ refresh }) => ({ Authorization: refresh ? "new" : "old" }) });
const job = await client.send("hi", { agent: "demo", session: "s", onBusy: "interrupt", timeoutSeconds: 60 });
for await (const event of client.events(job, { cursor: job.cursor, signal: AbortSignal.timeout(1000) })) {
  const id: string | undefined = event.id;
  console.log(id, event.type, event.text);
}
for await (const event of client.events("s", { raw: true, onConnection: (state: "live" | "lost") => state })) console.log(event);

const session = client.session("s");
const stop: () => void = session.subscribe((state: SessionState, events) => console.log(state.messages, events.length));
stop();
await session.send({ messages: [{ role: "user", content: "hi" }] }, { agent: "demo" });
if (session.state.question) await session.answer({ yes: true });

function words(part: Part): string {
  switch (part.type) {
    case "text":
    case "reasoning":
      return part.text;
    case "tool":
      return `${part.name} ${part.state} ${part.written}`;
    case "question":
      return part.prompt;
    case "section":
      return part.title;
    case "data":
      return part.name;
    case "fallback":
      return part.to;
  }
}
for (const message of session.state.messages) {
  if (message.status === undefined) console.log(message.content);
  else console.log((message satisfies JobMessage).parts.map(words));
}
const newest: Part[] | undefined = session.state.messages.at(-1)?.parts;
console.log(newest?.map(words));
try {
  await client.cancel(job);
} catch (error) {
  if (error instanceof HoldfastError && error.transient) console.log(error.retryAfterSeconds, error.errors[0]?.field);
}

// @ts-expect-error a job needs an agent
await client.send("hi", {});
// @ts-expect-error no such mode
await client.send("hi", { agent: "demo", onBusy: "wait" });
// @ts-expect-error a job is named by two ids
client.events({ job_id: "j" });
// @ts-expect-error a snapshot cannot be replaced
session.state = session.state;
