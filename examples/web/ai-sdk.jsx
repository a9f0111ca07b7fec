// React with `useChat` of the AI SDK. The page stores the messages; a refresh resumes the answer that is being written.
import { DefaultChatTransport } from "ai";
import { useEffect } from "react";
import { createRoot } from "react-dom/client";
import { useResumableChat } from "holdfast-client/ai-sdk";
import { Composer } from "./composer.jsx";
import { agent, gateway, sessionId } from "./settings.js";

const api = `${gateway}/ai-sdk/v7/${agent}`;
const transport = new DefaultChatTransport({ api });
const stored = JSON.parse(sessionStorage.getItem(sessionId) ?? "[]");
const post = (url, body) =>
  fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

function Part({ type, text, providerMetadata }) {
  if (type === "text") return providerMetadata?.holdfast?.questionId ? <strong>{text}</strong> : text;
  if (type === "reasoning") return <em>{text}</em>;
  return type.startsWith("tool-") && <code>{type.slice(5)}</code>;
}

function Chat() {
  const chat = useResumableChat({ id: sessionId, messages: stored, transport });
  const { messages, status, error, incomplete, reconnecting, sendMessage } = chat;
  const last = messages.at(-1);
  const question = last?.parts.find(({ type, data }) => type === "data-question" && data.state === "asked");
  const answer = (value) =>
    post(`${gateway}/v1/sessions/${sessionId}/jobs/${last.metadata.jobId}/answer`, { value });
  useEffect(() => sessionStorage.setItem(sessionId, JSON.stringify(messages)), [messages]);
  return (
    <>
      <main>
        <div id="messages">
          {messages.map(({ id, role, parts, metadata }) => (
            <p key={id} className={role} data-status={metadata?.status}>
              {parts.map((part, index) => <Part key={index} {...part} />)}
            </p>
          ))}
          {error && <small>{reconnecting ? "Reconnecting …" : error.message}</small>}
        </div>
      </main>
      <Composer
        busy={(incomplete || ["submitted", "streaming"].includes(status)) && !question}
        question={question?.data}
        onSend={(given) => (question ? answer(given) : void sendMessage({ text: given }))}
        onStop={() => post(`${api}/${sessionId}/stop`, {})}
      />
    </>
  );
}

createRoot(document.getElementById("root")).render(<Chat />);
