import type { Connect } from "./index.js";

export interface SharedOptions {
  /** Tabs of the same name share. Needed with a callback for headers: name the user. */
  name?: string;
  /** Starts the SharedWorker, for pages whose policy or bundler needs another way. `name` is the worker's. */
  worker?: (name: string) => SharedWorker;
}

/**
 * Read a session's events once for all tabs of the origin: `new Client(url, { connect: shared() })`. Streams of jobs and
 * raw streams, and all streams where the browser has no SharedWorker, have a connection of their own.
 */
export function shared(options?: SharedOptions): Connect;
