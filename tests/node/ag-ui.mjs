// A client of AG-UI without a page, for tests: HttpAgent, TanStack AI's ChatClient, or CopilotKit's core.
//
//   node ag-ui.mjs '{"client": "http" | "tanstack" | "copilotkit", "url": "http://…", "agent": "demo", "thread": "t1",
//     "headers": {}}'
//
// Commands are lines of JSON on stdin: {"do": "send", "text": …, "props": …}, HttpAgent also with "state", "context" and
// "tools", {"do": "answer", "value": …}, {"do": "again"}: repeat the run that was cut, {"do": "join"}: as a page does that is opened, {"do": "stop"},
// {"do": "edit", "index": …, "text": …}: replace a message and those behind it, {"do": "reload"}: ask for another answer,
// {"do": "ended"}: wait until no request is open, {"do": "state"}. Each is answered with a line of JSON:
// {"open", "error", "messages", "events": [types], "interrupts"}.
import readline from 'node:readline';

const options = JSON.parse(process.argv[2]);
const headers = options.headers ?? {};
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
for (const method of ['log', 'warn', 'error', 'debug', 'info'])
  console[method] = (...words) => process.stderr.write(`${words.join(' ')}\n`);
process.on('unhandledRejection', () => {}); // HttpAgent rejects a second promise of a run that was cut

const client = await { http, tanstack, copilotkit }[options.client]();
let request = Promise.resolve();
let open = false;
let error = null;
const began = (promise) => {
  open = true;
  error = null;
  request = promise.catch((reason) => { error = String(reason?.message ?? reason); }).finally(() => { open = false; });
};
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { do: command, ...rest } = JSON.parse(line);
  if (command === 'ended') await request;
  else if (command === 'stop') await client.stop();
  else if (command !== 'state') began(client[command](rest));
  say({ open: open || Boolean(client.open?.()), ...client.state(), error: client.state().error ?? error });
}
process.exit(0);

function agentClient(agent, { run, connect, stop }) {
  const events = [];
  let interrupts = [];
  let failed = null;
  let last;
  agent.subscribe({
    onEvent: ({ event }) => { events.push(event.type); },
    onRunInitialized: () => { interrupts = []; failed = null; },
    onRunErrorEvent: ({ event }) => { failed = event.message; },
    onRunFinishedEvent: ({ event }) => { interrupts = event.outcome?.interrupts ?? []; },
  });
  const began = (parameters) => {
    last = { runId: crypto.randomUUID(), ...parameters };
    return run(last);
  };
  return {
    send: ({ text, props, state, ...page }) => {
      if (state !== undefined) agent.setState(state);
      agent.addMessage({ id: crypto.randomUUID(), role: 'user', content: text });
      return began({ ...page, forwardedProps: props ?? {} });
    },
    edit: ({ index, text }) => {
      agent.setMessages([...agent.messages.slice(0, index), { id: crypto.randomUUID(), role: 'user', content: text }]);
      return began({});
    },
    reload: () => {
      agent.setMessages(agent.messages.slice(0, agent.messages.findLastIndex(({ role }) => role === 'user') + 1));
      return began({});
    },
    answer: ({ value }) => began({
      resume: interrupts.map(({ id }) => ({ interruptId: id, status: 'resolved', payload: value })),
    }),
    again: () => run(last),
    join: () => connect(),
    stop: () => stop(last?.runId),
    state: () => ({ messages: agent.messages, events, interrupts, error: failed }),
  };
}

async function http() {
  const { HttpAgent, runHttpRequest, transformHttpEventStream } = await import('@ag-ui/client');
  const url = `${options.url}/ag-ui/${options.agent}`;
  const thread = `${url}/${encodeURIComponent(options.thread)}`;
  class Agent extends HttpAgent {
    connect() { return transformHttpEventStream(runHttpRequest(() => fetch(`${thread}/events`, { headers }))); }
  }
  const agent = new Agent({ url, threadId: options.thread, headers });
  return agentClient(agent, {
    run: (parameters) => agent.runAgent(parameters),
    connect: () => agent.connectAgent(),
    stop: () => fetch(`${thread}/stop`, { method: 'POST', headers }),
  });
}

async function copilotkit() {
  const { CopilotKitCore } = await import('@copilotkit/core');
  globalThis.window = globalThis; // the core asks a runtime only in a browser
  const core = new CopilotKitCore({ runtimeUrl: `${options.url}/copilotkit`, runtimeTransport: options.transport ?? 'rest', headers });
  let agent;
  while (!(agent = core.getAgent(options.agent))) await new Promise((resolve) => setTimeout(resolve, 20));
  agent.threadId = options.thread;
  return agentClient(agent, {
    run: ({ forwardedProps, ...parameters }) => {
      core.setProperties(forwardedProps ?? {});
      return agent.runAgent({ ...parameters, forwardedProps });
    },
    connect: () => core.connectAgent({ agent }),
    stop: () => core.stopAgent({ agent }),
  });
}

async function tanstack() {
  const { ChatClient, fetchServerSentEvents } = await import('@tanstack/ai-client');
  const events = [];
  let interrupts = [];
  let failed = null;
  const url = `${options.url}/ag-ui/${options.agent}`;
  const chat = new ChatClient({
    connection: fetchServerSentEvents(url, { headers }),
    threadId: options.thread,
    persistence: true,
    onChunk: (chunk) => {
      events.push(chunk.type);
      if (chunk.type === 'RUN_STARTED') [failed, interrupts] = [null, []];
      if (chunk.type === 'RUN_ERROR') failed = chunk.message;
      if (chunk.type === 'RUN_FINISHED') interrupts = chunk.outcome?.interrupts ?? [];
    },
    onError: (reason) => { failed = reason.message; },
  });
  return {
    send: ({ text, props }) => {
      if (props) chat.updateOptions({ forwardedProps: props });
      return chat.sendMessage(text);
    },
    edit: ({ index, text }) => {
      chat.setMessagesManually(chat.getMessages().slice(0, index));
      return chat.sendMessage(text);
    },
    reload: () => chat.reload(),
    answer: async ({ value }) => {
      for (const interrupt of chat.getPendingInterrupts()) interrupt.resolveInterrupt(value);
      while (!chat.getIsLoading()) await new Promise((resolve) => setTimeout(resolve, 10));
      while (chat.getIsLoading()) await new Promise((resolve) => setTimeout(resolve, 10));
    },
    join: async () => {
      chat.attach();
      while (!chat.getMessages().length && !chat.getIsLoading()) await new Promise((resolve) => setTimeout(resolve, 10));
    },
    stop: () => fetch(`${url}/${encodeURIComponent(options.thread)}/stop`, { method: 'POST', headers }),
    open: () => chat.getIsLoading() || chat.getStatus() === 'streaming' || chat.getSessionGenerating(),
    state: () => ({ messages: chat.getMessages(), events, interrupts, error: failed, status: chat.getStatus() }),
  };
}
