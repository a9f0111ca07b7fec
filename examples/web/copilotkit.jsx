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

// CopilotChat joins the run when the page is opened. This joins it again when the connection was lost.
function useRejoin() {
  const { copilotkit } = useCopilotKit();
  const { agent } = useAgent({ agentId });
  useEffect(() => {
    let timer;
    const join = () => copilotkit.connectAgent({ agent });
    const onRunFailed = ({ error }) => {
      if (!(error.status < 500)) timer = setTimeout(join, 1000);
    };
    const { unsubscribe } = agent.subscribe({ onRunFailed });
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
    render: ({ interrupt, resolve }) => (
      <>
        {interrupt.message}
        <Composer onSend={resolve} />
      </>
    ),
  });
  return <CopilotChat agentId={agentId} threadId={sessionId} />;
}

createRoot(document.getElementById("root")).render(
  <CopilotKitProvider runtimeUrl={`${gateway}/copilotkit`}>
    <Chat />
  </CopilotKitProvider>,
);
