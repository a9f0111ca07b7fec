// A chat of the AI SDK without a page, for tests: real `ai` 6 or 7, with a real transport.
//
//   node ai-sdk.mjs '{"sdk": "v6" | "v7" | "workflow", "api": "http://…", "id": "chat", "messages": [], "headers": {}}'
//
// Commands are lines of JSON on stdin: {"do": "send", "text": …, "files": […]}, {"do": "resume"}, {"do": "stop"},
// {"do": "regenerate", "messageId": …}, {"do": "edit", "messageId": …, "text": …}, {"do": "ended"}: wait until no request is open. Each is answered with a line of JSON:
// {"open": whether a request is, "status", "error", "messages"}. Further lines, {"event": …}, are sent without a command.
import readline from 'node:readline';

const options = JSON.parse(process.argv[2]);
const { AbstractChat, DefaultChatTransport } = await import(options.sdk === 'v6' ? 'ai-v6' : 'ai');
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
for (const method of ['log', 'warn', 'error']) console[method] = (...words) => process.stderr.write(`${words.join(' ')}\n`);

class State {
  status = 'ready';
  error = undefined;
  messages = options.messages ?? [];
  pushMessage = (message) => { this.messages = [...this.messages, message]; };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => { this.messages = this.messages.with(index, structuredClone(message)); };
  snapshot = (value) => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor(init) { super({ ...init, state: new State() }); }
}

async function transport() {
  if (options.sdk !== 'workflow') return new DefaultChatTransport({ api: options.api, body: options.body, headers: options.headers });
  const { WorkflowChatTransport } = await import('@ai-sdk/workflow/client');
  const workflow = new WorkflowChatTransport({
    api: options.api,
    fetch: (url, init) => fetch(url, { ...init, headers: { ...init?.headers, ...options.headers } }),
    initialStartIndex: options.initialStartIndex,
    onChatEnd: ({ chunkIndex }) => say({ event: 'end', chunks: chunkIndex }),
    // The only way to a session of one's own: this transport sends no id.
    prepareSendMessagesRequest: options.sendId
      ? ({ id, messages, trigger, messageId, body }) =>
        ({ body: { ...options.body, ...body, id, messages, trigger, messageId } })
      : undefined,
  });
  return Object.assign(workflow, { resumeStreamIsReplay: true });
}

const chat = new Chat({
  id: options.id,
  transport: await transport(),
  onFinish: ({ isAbort, isDisconnect, isError, finishReason }) =>
    say({ event: 'finish', isAbort, isDisconnect, isError, finishReason }),
  onData: (part) => { if (part.transient) say({ event: 'data', part }); },
  onToolCall: ({ toolCall }) => say({ event: 'tool call', toolCall }),
});

let request = Promise.resolve();
let open = false;
const began = (promise) => {
  open = true;
  request = promise.finally(() => { open = false; });
};
const commands = {
  send: ({ text, files, ...rest }) => began(chat.sendMessage({ text, files }, rest)),
  resume: () => began(chat.resumeStream()),
  regenerate: ({ messageId }) => began(chat.regenerate({ messageId })),
  edit: ({ text, messageId }) => began(chat.sendMessage({ text, messageId })),
  stop: () => chat.stop(),
  ended: () => request,
  state: () => {},
};
for await (const line of readline.createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  await commands[command.do](command);
  say({ open, status: chat.status, error: chat.error?.message ?? null, messages: chat.messages });
}
process.exit(0);
