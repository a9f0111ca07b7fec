import { useChat } from '@ai-sdk/react';
import { useEffect, useState } from 'react';

export function useResumableChat(options) {
  const [failures, setFailures] = useState(0);
  const chat = useChat({ resume: true, ...options, onError: () => setFailures((count) => count + 1) });
  const { jobId, status } = chat.messages.at(-1)?.metadata ?? {};
  const incomplete = jobId !== undefined && status === undefined; // the last message is an answer without an end
  useEffect(() => {
    if (chat.status === 'streaming') setFailures(0);
  }, [chat.status]);
  useEffect(() => {
    if (failures === 0 || failures > 10 || !incomplete) return;
    const timer = setTimeout(chat.resumeStream, Math.min(500 * 2 ** failures, 15_000));
    return () => clearTimeout(timer);
  }, [failures, incomplete]);
  return { ...chat, incomplete };
}
