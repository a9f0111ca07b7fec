// Applications with TanStack AI's `useChat`, with CopilotKit's core and with `HttpAgent`. Tests read `window.chat`.
import { HttpAgent, runHttpRequest, transformHttpEventStream } from '@ag-ui/client';
import { CopilotKitCore } from '@copilotkit/core';
import { fetchServerSentEvents, useChat } from '@tanstack/ai-react';
import { createRoot } from 'react-dom/client';

const { kind, url, agent: agentId, thread } = Object.fromEntries(new URLSearchParams(location.search));
const options = JSON.parse(localStorage.getItem('options') ?? '{}');
const stop = () => fetch(`${url}/ag-ui/${agentId}/${thread}/stop`, { method: 'POST' });

function TanStack() {
  const { messages, sendMessage, isLoading, status, error, interrupts } = useChat({
    threadId: thread,
    persistence: true,
    forwardedProps: { options },
    connection: fetchServerSentEvents(`${url}/ag-ui/${agentId}`),
  });
  window.chat = {
    messages,
    isLoading,
    status,
    interrupts,
    error: error?.message ?? null,
    send: sendMessage,
    answer: (value) => interrupts[0].resolveInterrupt(value),
    stop,
  };
  return messages.map(({ id, role, parts }) => (
    <p key={id}>
      {role}: {parts.map((part) => (part.type === 'text' ? part.content : '')).join('')}
    </p>
  ));
}

async function agentApplication({ agent, connect, stop }) {
  // AG-UI's client rejects a second promise of a run that was cut, which nobody can catch.
  addEventListener('unhandledrejection', (event) => event.preventDefault());
  window.chat = { messages: [], isLoading: true, interrupts: [], error: null };
  agent.subscribe({
    onRunInitialized: () => { Object.assign(window.chat, { error: null, interrupts: [] }); },
    onRunErrorEvent: ({ event }) => { window.chat.error = event.message; },
    onRunFinishedEvent: ({ event }) => { window.chat.interrupts = event.outcome?.interrupts ?? []; },
    onMessagesChanged: ({ messages }) => { window.chat.messages = messages; },
  });
  const repeated = async (parameters) => {
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
  const run = (parameters) => {
    window.chat.isLoading = true;
    return repeated(parameters).finally(() => { window.chat.isLoading = false; });
  };
  Object.assign(window.chat, {
    send: (text) => {
      sessionStorage.setItem('sent', 'yes');
      agent.addMessage({ id: crypto.randomUUID(), role: 'user', content: text });
      return run({ forwardedProps: { options } });
    },
    answer: (payload) => run({
      resume: window.chat.interrupts.map(({ id }) => ({ interruptId: id, status: 'resolved', payload })),
    }),
    stop,
  });
  await connect();
  window.chat.isLoading = false;
}

async function copilotKit() {
  const core = new CopilotKitCore({ runtimeUrl: `${url}/copilotkit`, properties: { options } });
  let agent;
  while (!(agent = core.getAgent(agentId))) await new Promise((resolve) => setTimeout(resolve, 20));
  agent.threadId = thread;
  return { agent, connect: () => core.connectAgent({ agent }), stop: () => core.stopAgent({ agent }) };
}

async function http() {
  class HoldfastAgent extends HttpAgent {
    connect(input) {
      const events = `${this.url}/${encodeURIComponent(input.threadId)}/events`;
      return transformHttpEventStream(runHttpRequest(() => fetch(events)));
    }
  }
  const agent = new HoldfastAgent({ url: `${url}/ag-ui/${agentId}`, threadId: thread });
  // The route waits for a run, so a page that has sent nothing does not join.
  return { agent, connect: () => sessionStorage.getItem('sent') && agent.connectAgent(), stop };
}

if (kind === 'tanstack') createRoot(document.getElementById('root')).render(<TanStack />);
else ({ copilotkit: copilotKit, http })[kind]().then(agentApplication);
