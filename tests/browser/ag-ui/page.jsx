// Applications with TanStack AI's `useChat`, and with CopilotKit's core. Tests read `window.chat`.
import { CopilotKitCore } from '@copilotkit/core';
import { fetchServerSentEvents, useChat } from '@tanstack/ai-react';
import { createRoot } from 'react-dom/client';

const { kind, url, agent: agentId, thread } = Object.fromEntries(new URLSearchParams(location.search));
const options = JSON.parse(localStorage.getItem('options') ?? '{}');
const stop = () => fetch(`${url}/ag-ui/${agentId}/${thread}/stop`, { method: 'POST' });

function TanStack() {
  const { messages, sendMessage, isLoading, error } = useChat({
    threadId: thread,
    persistence: true,
    forwardedProps: { options },
    connection: fetchServerSentEvents(`${url}/ag-ui/${agentId}`),
  });
  window.chat = { messages, isLoading, error: error?.message ?? null, send: sendMessage, stop };
  return messages.map(({ id, role, parts }) => (
    <p key={id}>
      {role}: {parts.map((part) => (part.type === 'text' ? part.content : '')).join('')}
    </p>
  ));
}

async function copilotKit() {
  // AG-UI's client rejects a second promise of a run that was cut, which nobody can catch.
  addEventListener('unhandledrejection', (event) => event.preventDefault());
  const core = new CopilotKitCore({ runtimeUrl: `${url}/copilotkit`, properties: { options } });
  let agent;
  while (!(agent = core.getAgent(agentId))) await new Promise((resolve) => setTimeout(resolve, 20));
  agent.threadId = thread;
  window.chat = { messages: [], isLoading: false, error: null };
  agent.subscribe({
    onRunInitialized: () => { window.chat.error = null; },
    onRunErrorEvent: ({ event }) => { window.chat.error = event.message; },
    onMessagesChanged: ({ messages }) => { window.chat.messages = messages; },
  });
  const run = async (parameters) => {
    const runId = crypto.randomUUID();
    for (let delay = 300; ; delay = Math.min(2 * delay, 5000)) {
      try {
        return await agent.runAgent({ ...parameters, runId });
      } catch (error) {
        if (error.status < 500) throw error;
        await new Promise((resolve) => setTimeout(resolve, delay));
      }
    }
  };
  Object.assign(window.chat, {
    send: (text) => {
      agent.addMessage({ id: crypto.randomUUID(), role: 'user', content: text });
      window.chat.isLoading = true;
      return run({ forwardedProps: { options } }).finally(() => { window.chat.isLoading = false; });
    },
    stop: () => core.stopAgent({ agent }),
  });
  window.chat.isLoading = true;
  await core.connectAgent({ agent });
  window.chat.isLoading = false;
}

if (kind === 'tanstack') createRoot(document.getElementById('root')).render(<TanStack />);
else copilotKit();
