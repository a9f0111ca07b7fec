import type { Session, SessionState } from "./index.js";

/**
 * The state of a session, rendered again when it changes, and its calls, which stay the same functions. The session is
 * connected while a component uses it. Make it outside of the component or with `useMemo`: another object is another
 * connection.
 */
export function useHoldfast(session: Session): SessionState & Pick<Session, "send" | "cancel" | "answer">;
