// An application with `useChat`, as small as they come. It keeps its messages as others do in a database, resumes a
// chat when it is opened, and resumes after a cut. Tests read `window.chat`.
import { useChat } from '@ai-sdk/react';
import { WorkflowChatTransport } from '@ai-sdk/workflow/client';
import { DefaultChatTransport } from 'ai';
import { useEffect } from 'react';
import { createRoot } from 'react-dom/client';

const { id, api, workflow } = Object.fromEntries(new URLSearchParams(location.search));
const saved = JSON.parse(localStorage.getItem(id) ?? '[]');
const options = JSON.parse(localStorage.getItem('options') ?? '{}');

const transport = workflow
  ? new WorkflowChatTransport({
      api,
      prepareSendMessagesRequest: ({ id, messages, trigger, messageId }) => ({
        body: { id, messages, trigger, messageId, options },
      }),
    })
  : new DefaultChatTransport({ api, body: { options } });

function Chat() {
  const chat = useChat({
    id,
    transport,
    messages: saved,
    resume: true,
    onFinish: ({ isError, message }) => {
      if (isError && message.metadata?.status !== 'failed') setTimeout(() => chat.resumeStream(), 300);
    },
  });
  const { messages, status, error, sendMessage } = chat;
  useEffect(() => localStorage.setItem(id, JSON.stringify(messages)), [messages]);
  const stop = () => fetch(`${api}/${id}/stop`, { method: 'POST' });
  window.chat = { messages, status, error: error?.message ?? null, sendMessage, stop };
  return messages.map((message) => (
    <p key={message.id}>
      {message.role}: {message.parts.map((part) => part.text ?? '').join('')}
    </p>
  ));
}

createRoot(document.getElementById('root')).render(<Chat />);
