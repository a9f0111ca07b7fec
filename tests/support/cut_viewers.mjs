// Submits jobs and reads them with the JavaScript client: `cut_viewers.mjs '{"url": …, "sessionIds": […], …}'`.
// Prints what each viewer saw, one line of JSON each. A third reads every event, a third merged ones, a third the state.
import { Client } from "../../clients/js/src/index.js";

const { url, sessionIds, options } = JSON.parse(process.argv[2]);
const client = new Client(url, { retryMs: Infinity });

async function read(job, raw) {
  const seen = { ids: [], text: "", gaps: 0 };
  for await (const event of client.events(job, { raw })) {
    if (event.type === "gap") seen.gaps += 1;
    if (event.id) seen.ids.push(event.id);
    if (event.type === "text.delta") seen.text += event.text;
  }
  return seen;
}

function watch(session, { job_id }) {
  const ids = [];
  return new Promise((resolve) => {
    const stop = session.subscribe(({ messages, gap }, events) => {
      for (const { id } of events) if (id) ids.push(id);
      const answer = messages.find((message) => message.job_id === job_id && message.role === "assistant");
      if (answer?.status !== "completed") return;
      stop();
      resolve({ ids, text: answer.content, gaps: gap ? 1 : 0 });
    });
  });
}

async function follow(session_id, number) {
  const mode = ["raw", "merged", "state"][number % 3];
  const session = client.session(session_id);
  const job = await session.send("count", { agent: "scripted", options });
  const seen = mode === "state" ? await watch(session, job) : await read(job, mode === "raw");
  console.log(JSON.stringify({ session_id, mode, ...seen }));
}

await Promise.all(sessionIds.map(follow));
process.exit(); // connections of the pool would keep it alive for some seconds
