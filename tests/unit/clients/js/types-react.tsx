import { Client } from "holdfast-client";
import { useHoldfast } from "holdfast-client/react";
import { shared } from "holdfast-client/shared";

const client = new Client("", { connect: shared({ name: "ada" }) });
const session = client.session("s");

export function Chat() {
  const { messages, question, connection, send, answer } = useHoldfast(session);
  return (
    <main data-connection={connection}>
      {messages.map((message) => (message.status === undefined ? <p>{message.content}</p> : <p>{message.parts.length}</p>))}
      {question && <button onClick={() => answer("yes")}>{question.prompt}</button>}
      <button onClick={() => send("hi", { agent: "demo" })}>Send</button>
    </main>
  );
}

// @ts-expect-error not a session
useHoldfast("s");
