import type { UIMessage } from "@ai-sdk/react";
import { useResumableChat } from "holdfast-client/ai-sdk";

type Message = UIMessage<{ jobId: string; status?: string }>;

export function Chat() {
  const { messages, incomplete, unsent, reconnecting, sendMessage } = useResumableChat<Message>({ id: "s", messages: [] });
  const flags: boolean[] = [incomplete, unsent, reconnecting];
  return (
    <main>
      {messages.map(({ id, metadata }) => <p key={id}>{metadata?.jobId}</p>)}
      {flags.some(Boolean) && <button onClick={() => sendMessage()}>Send again</button>}
    </main>
  );
}

// @ts-expect-error no such option
useResumableChat({ retries: 3 });
