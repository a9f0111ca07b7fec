// The smallest chat with React: what test_react.py shows in a browser.
import { StrictMode, useMemo, useState } from "react";
import { createRoot } from "react-dom/client";

import { Client } from "holdfast-client";
import { useHoldfast } from "holdfast-client/react";

const client = new Client();

function Chat({ id }) {
  const session = useMemo(() => client.session(id), [id]);
  const { messages, question, job, connection, send, answer, cancel } = useHoldfast(session);
  window.renders = (window.renders ?? 0) + 1;
  return (
    <section data-connection={connection}>
      {messages.map(({ role, job_id, content, status }) => (
        <p key={`${job_id} ${role}`} className={role} data-status={status}>
          {content}
        </p>
      ))}
      {question && <button onClick={() => answer("yes")}>{question.prompt}</button>}
      {job && <button id="stop" onClick={() => cancel()}>Stop</button>}
      <button id="send" onClick={() => send("count", { agent: "scripted", options: window.options })}>Send</button>
    </section>
  );
}

function App() {
  const [id, setId] = useState("session");
  window.show = setId;
  return id && <Chat id={id} />;
}

const root = document.body.appendChild(document.createElement("div"));
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
