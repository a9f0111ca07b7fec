// An application with `useChat`, as small as they come, with the snippets in docs/dialects/ai-sdk.md. It keeps its
// messages as others do in a database. Tests read `window.chat`.
import { useEffect } from 'react';
import { createRoot } from 'react-dom/client';
import { useResumableChat } from 'holdfast-client/ai-sdk';
import { answerQuestion, stopAnswer, workflowTransport } from './snippets.jsx';
import { DefaultChatTransport } from './transport.js';

const { id, api, workflow } = Object.fromEntries(new URLSearchParams(location.search));
const saved = JSON.parse(localStorage.getItem(id) ?? '[]');
const transport = workflow ? workflowTransport(api) : new DefaultChatTransport({ api });

function Chat() {
  const { messages, status, error, incomplete, unsent, reconnecting, sendMessage, regenerate } = useResumableChat({
    id,
    transport,
    messages: saved,
  });
  useEffect(() => localStorage.setItem(id, JSON.stringify(messages)), [messages]);
  window.chat = {
    messages,
    status,
    incomplete,
    unsent,
    reconnecting,
    error: error?.message ?? null,
    send: (text, body) => void sendMessage(text ? { text } : undefined, { body }),
    regenerate: (body) => void regenerate({ body }),
    stop: () => stopAnswer(api, id),
    answer: (value) => {
      const message = messages.at(-1);
      const part = message.parts.find((part) => part.type === 'data-question');
      return answerQuestion(new URL(api).origin, message, part, value);
    },
  };
  return messages.map((message) => (
    <p key={message.id}>
      {message.role}: {message.parts.map((part) => part.text ?? '').join('')}
    </p>
  ));
}

createRoot(document.getElementById('root')).render(<Chat />);
