// CopilotKit's own chat. Its runtime is the gateway.
import {
  CopilotChat,
  CopilotKitProvider,
  useAgent,
  useCopilotKit,
  useDefaultRenderTool,
  useInterrupt,
} from "@copilotkit/react-core/v2";
import "@copilotkit/react-core/v2/styles.css";
import { useEffect } from "react";
import { createRoot } from "react-dom/client";
import { Composer } from "./composer.jsx";
import { agent as agentId, gateway, sessionId } from "./settings.js";

const LOST = ["agent_run_failed", "agent_connect_failed"];

// CopilotChat joins the run when the page is opened. This joins it again when the connection was lost.
function useRejoin() {
  const { copilotkit } = useCopilotKit();
  const { agent } = useAgent({ agentId });
  useEffect(() => {
    let timer;
    const join = () => {
      agent.pendingInterrupts = []; // those that are still open come again; an answered one would prevent joining
      copilotkit.connectAgent({ agent });
    };
    const onError = ({ code, error }) => {
      if (!LOST.includes(code) || error.status < 500) return;
      clearTimeout(timer);
      timer = setTimeout(join, 1000);
    };
    const { unsubscribe } = copilotkit.subscribe({ onError });
    return () => {
      clearTimeout(timer);
      unsubscribe();
    };
  }, [copilotkit, agent]);
}

function Chat() {
  useRejoin();
  useDefaultRenderTool();
  useInterrupt({
    agentId,
    render: ({ interrupt: { message: prompt, responseSchema: schema }, resolve }) => (
      <Composer question={{ prompt, schema }} onSend={(answer) => void resolve(answer)} />
    ),
  });
  return <CopilotChat agentId={agentId} threadId={sessionId} />;
}

createRoot(document.getElementById("root")).render(
  <CopilotKitProvider runtimeUrl={`${gateway}/copilotkit`}>
    <Chat />
  </CopilotKitProvider>,
);
