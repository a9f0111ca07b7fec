// A React hook for the state of a session.

import { useCallback, useMemo, useSyncExternalStore } from "react";

/** The session's state and its calls. It is connected while a component uses it. */
export function useHoldfast(session) {
  const subscribe = useCallback((changed) => session.subscribe(changed), [session]);
  const state = useSyncExternalStore(subscribe, () => session.state, () => session.state);
  const calls = useMemo(
    () => ({
      send: (...given) => session.send(...given),
      cancel: (...given) => session.cancel(...given),
      answer: (...given) => session.answer(...given),
    }),
    [session],
  );
  return { ...state, ...calls };
}
