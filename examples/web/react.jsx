// React with `useHoldfast`: the conversation, with reasoning, tool calls and questions.
import { Client } from "holdfast-client";
import { useHoldfast } from "holdfast-client/react";
import { useState } from "react";
import { createRoot } from "react-dom/client";
import { Composer } from "./composer.jsx";
import { agent, gateway, sessionId } from "./settings.js";

const session = new Client(gateway).session(sessionId);

function Part({ type, text, name, prompt }) {
  if (type === "text") return text;
  if (type === "reasoning") return <em>{text}</em>;
  if (type === "tool") return <code>{name}</code>;
  return type === "question" && <strong>{prompt}</strong>;
}

function Chat() {
  const { messages, question, job, send, answer, cancel } = useHoldfast(session);
  const [failure, setFailure] = useState();
  const call = (promise) => promise.then(() => setFailure(), setFailure);
  return (
    <>
      <main>
        <div id="messages">
          {messages.map(({ job_id, role, content, parts, status, error }) => (
            <p key={`${job_id} ${role}`} className={role} data-status={status}>
              {parts ? parts.map((part) => <Part key={part.id} {...part} />) : content}
              {error && <small>{error.message}</small>}
            </p>
          ))}
          {failure && <small>{failure.message}</small>}
        </div>
      </main>
      <Composer
        busy={job && !question}
        onSend={(text) => call(question ? answer(text) : send(text, { agent }))}
        onStop={() => call(cancel())}
      />
    </>
  );
}

createRoot(document.getElementById("root")).render(<Chat />);
