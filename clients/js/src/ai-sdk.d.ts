import type { UIMessage, UseChatHelpers, UseChatOptions } from "@ai-sdk/react";

/**
 * `useChat` of `@ai-sdk/react` 3 (`ai` 6) or 4 (`ai` 7), which continues an answer after a cut and after a reload. Pauses
 * grow from 0.5 to 15 s; it gives up after 10 failures without a chunk, and behind a refusal that lasts.
 */
export function useResumableChat<Message extends UIMessage = UIMessage>(
  options?: UseChatOptions<Message>,
): UseChatHelpers<Message> & {
  /** The last message is an answer without an end. When `status` is `ready`, the rest of it is no longer stored. */
  incomplete: boolean;
  /** The last message is one of the user, and no answer is on its way: `sendMessage()` sends it again. */
  unsent: boolean;
  /** Another attempt follows by itself. */
  reconnecting: boolean;
};
