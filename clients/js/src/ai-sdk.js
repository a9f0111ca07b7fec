// `useChat` of the AI SDK 6 and 7, for an answer that survives a cut connection and a reload.

import { Chat, useChat } from "@ai-sdk/react";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { backoff, pause } from "./http.js";

const CALLBACKS = ["onData", "onError", "onFinish", "onToolCall", "sendAutomaticallyWhen"];
const MOST_FAILURES = 10;
const FIRST_PAUSE_MS = 500;

/** `useChat`, which resumes an answer without an end, and sends a message again whose answer has not begun. */
export function useResumableChat(options = {}) {
  const { resume = true, throttle, experimental_throttle } = options;
  const chat = useChat({ resume, throttle, experimental_throttle, chat: useReplayedChat(options) });
  const { id, messages, status, error, sendMessage, regenerate, resumeStream } = chat;
  const [sent, setSent] = useState(null); // the chat and the options of the message that this page has sent
  const [failures, setFailures] = useState(0); // since the last chunk

  const last = messages.at(-1);
  const incomplete = last?.metadata?.jobId !== undefined && last.metadata.status === undefined;
  const unsent = last?.role === "user" && ["ready", "error"].includes(status);
  // With the same options it is the same job. Those of an earlier page are unknown, and another answer is another job:
  // both resume the newest job.
  const sends = unsent && sent?.id === id;
  const reconnecting = (incomplete || unsent) && failures < MOST_FAILURES && mayPass(error, sends);

  const streaming = status === "streaming";
  useEffect(() => setFailures(0), [id, streaming]);
  useEffect(() => {
    if (!reconnecting) return undefined;
    const stop = new AbortController();
    pause(backoff(failures, FIRST_PAUSE_MS), stop.signal).then(() => {
      if (stop.signal.aborted) return;
      setFailures(failures + 1);
      if (sends) sendMessage(undefined, sent.options);
      else resumeStream();
    });
    return () => stop.abort();
  }, [error, reconnecting]);

  const began = (next) => {
    setFailures(0);
    setSent(next);
  };
  const send = useCallback(
    (message, given) => {
      began({ id, options: given });
      return sendMessage(message, given);
    },
    [id, sendMessage],
  );
  const again = useCallback(
    (given) => {
      began(null);
      return regenerate(given);
    },
    [regenerate],
  );
  return { ...chat, sendMessage: send, regenerate: again, incomplete, unsent, reconnecting };
}

/** The chat that `useChat` would make. With `ai` 6 that one takes a resumed answer, which is replayed, for its rest. */
function useReplayedChat(options) {
  const latest = useRef(options);
  latest.current = options;
  const chat = useMemo(() => {
    if (options.chat) return options.chat;
    const calls = CALLBACKS.map((name) => [name, (...given) => latest.current[name]?.(...given)]);
    const transport = options.transport && {
      resumeStreamIsReplay: true,
      sendMessages: (given) => latest.current.transport.sendMessages(given),
      reconnectToStream: (given) => latest.current.transport.reconnectToStream(given),
    };
    return new Chat({ ...options, ...Object.fromEntries(calls), transport });
  }, [options.chat, options.id]);
  useEffect(() => () => void (chat === options.chat || chat.stop()), [chat]);
  return chat;
}

/** Whether another attempt may succeed. Where a refusal has no status, as in `ai` 6, a resumption is repeated only. */
function mayPass(error, sends) {
  if (!error) return false;
  const { statusCode } = error;
  if (statusCode === undefined) return !sends || error instanceof TypeError;
  return statusCode === 429 || statusCode >= 500;
}
