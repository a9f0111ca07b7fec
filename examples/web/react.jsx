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
  const { messages, question, job, connection, send, answer, cancel } = useHoldfast(session);
  const [problem, setProblem] = useState("");
  const onRetry = ({ message }) => setProblem(`Not sent yet: ${message}. Trying again…`);
  const call = async (promise) => {
    await promise.catch((error) => {
      setProblem(error.message);
      throw error;
    });
    setProblem("");
  };
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
        </div>
      </main>
      <Composer
        busy={job && !question}
        question={question}
        problem={problem || (connection === "lost" && `No connection to ${gateway}. Trying again…`)}
        onSend={(given) => call(question ? answer(given, { onRetry }) : send(given, { agent, onRetry }))}
        onStop={() => call(cancel()).catch(() => {})}
      />
    </>
  );
}

createRoot(document.getElementById("root")).render(<Chat />);
