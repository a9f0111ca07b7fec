/** What a gateway accepts as the input of a job; an agent with a schema of its own may accept other objects. */
export type Input = string | { messages: InputMessage[] } | { [name: string]: unknown };

export interface InputMessage {
  role: "user" | "assistant" | "system";
  content: string | { type: "text"; text: string }[] | unknown;
}

/** Request headers. A function is called for each request, and once more with `refresh` after a 401. */
export type Headers =
  | Record<string, string>
  | ((request: { refresh: boolean }) => Record<string, string> | Promise<Record<string, string>>);

export interface ClientOptions {
  /** Constant headers, or a callback for tokens. An error that it throws counts as a network error. */
  headers?: Headers;
  /** Called with the ticket by which the gateway replaces that of an open stream: send it from now on. */
  onTicket?: (renewed: { ticket: string; expires_at: number }) => void;
  /** How long calls are repeated while their outcome is open, in milliseconds; by default 60,000. */
  retryMs?: number;
  /** Another source of events than an own connection, such as `shared()` of `holdfast-client/shared`. */
  connect?: Connect;
}

export interface CallOptions {
  /** Ends the call. What was sent may take effect nevertheless. */
  signal?: AbortSignal;
  /** Called for each failure after which the call is repeated. */
  onRetry?: (error: HoldfastError) => void;
  /** Overrides the client's `retryMs`. */
  retryMs?: number;
}

export interface JobOptions extends CallOptions {
  agent: string;
  /** What to do if the session has an open job; by default `queue`. */
  onBusy?: "queue" | "reject" | "interrupt";
  /** How long one attempt may run, 1 to 86,400 seconds. */
  timeoutSeconds?: number;
  budget?: { tokens?: number; cost_usd?: number; seconds?: number; tool_calls?: number };
  /** Options of the agent. */
  options?: Record<string, unknown>;
  /** What the page shows and offers, which the agent reads. */
  client?: { state?: unknown; context?: { description: string; value: string }[]; tools?: Record<string, unknown>[] };
  metadata?: Record<string, unknown>;
  webhook?: { url: string; events?: ("job.ended" | "question.asked")[] };
  /** The job that it follows, whose path its agent reads; `null`: none. By default the newest one. */
  after?: string | null;
  /** Sent as `Idempotency-Key`; random by default. Within a day, the same key returns the same job. */
  idempotencyKey?: string;
}

export interface SendOptions extends JobOptions {
  /** The session's id; without it, the job starts a new session. */
  session?: string;
}

/** The answer to a submitted job. `position` is 0 for the job that runs or is next. */
export interface Accepted {
  job_id: string;
  session_id: string;
  status: JobStatus;
  position: number;
  cursor: string;
  events_url: string;
  session_events_url: string;
}

/** Names a job: the answer to `send`, a job's record, or the two ids alone. */
export interface JobName {
  session_id: string;
  job_id: string;
}

export type JobStatus = "queued" | "running" | "waiting" | "completed" | "failed" | "cancelled";
export type Connection = "connecting" | "live" | "lost" | "deleted" | "failed" | "closed";

export interface EventOptions {
  /** The id of the last event that was processed; without it, the stream starts at the beginning. */
  cursor?: string;
  /** Ends the iterator without an error. */
  signal?: AbortSignal;
  /** Neither merge deltas nor leave out discarded events. */
  raw?: boolean;
  /** Wait for a session that does not exist yet, instead of an error 404. */
  wait?: boolean;
  /** Called when the connection is live, and when it is lost and made again. */
  onConnection?: (state: "live" | "lost") => void;
}

/** An event as docs/protocol.md lists them. Events of the gateway itself, such as `job.queued`, have no `id`. */
export interface HoldfastEvent {
  type: string;
  id?: string;
  job_id?: string;
  agent?: string;
  [field: string]: any;
}

/** Reads the events at a path of the gateway. Implemented by an own connection and by `shared()`. */
export type Connect = (http: unknown, path: string, options: EventOptions & { job: boolean }) => AsyncIterable<HoldfastEvent>;

/** The error of a call. */
export class HoldfastError extends Error {
  /** The HTTP status; 0 if there was no response. */
  readonly status: number;
  /** The `code` of the problem, as docs/protocol.md lists them; `network` without a response. */
  readonly code: string;
  /** The invalid fields. */
  readonly errors: { field: string; detail: string }[];
  /** From `Retry-After`; 0 without it. */
  readonly retryAfterSeconds: number;
  /** Whether the outcome is open, so that the same call may be repeated. */
  readonly transient: boolean;
}

interface PartOf<Type extends string> {
  type: Type;
  /** Unique within the job, and kept while the part changes, except where a takeover removes something from it. */
  id: string;
  /** The agent, where several write in one job. */
  agent?: string;
}

export interface TextPart extends PartOf<"text"> {
  text: string;
  truncated?: true;
}

export interface ReasoningPart extends PartOf<"reasoning"> {
  text: string;
}

/** A tool call. `written`: its arguments as they stream, partial JSON. */
export interface ToolPart extends PartOf<"tool"> {
  call_id: string;
  name: string;
  state: "writing" | "called" | "done" | "failed";
  written: string;
  arguments?: any;
  result?: any;
  error?: any;
  truncated?: boolean;
}

export interface SectionPart extends PartOf<"section"> {
  title: string;
  index: number;
  open: boolean;
}

export interface DataPart extends PartOf<"data"> {
  name: string;
  value: any;
}

export interface QuestionPart extends PartOf<"question"> {
  question_id: string;
  prompt: string;
  /** JSON Schema of the answer. */
  schema: Record<string, any>;
  state: "waiting" | "answered";
  value?: any;
}

/** Streaming failed, and another model or an answer without streaming follows. */
export interface FallbackPart extends PartOf<"fallback"> {
  reason: string;
  to: string;
}

export type Part = TextPart | ReasoningPart | ToolPart | SectionPart | DataPart | QuestionPart | FallbackPart;

/** A message of a job's input. */
export interface GivenMessage {
  role: "user" | "assistant" | "system" | "tool";
  content: any;
  job_id: string;
  status?: undefined;
  parts?: undefined;
}

/** A job, as the message with which its agent answers. */
export interface JobMessage {
  role: "assistant";
  job_id: string;
  agent: string | null;
  status: JobStatus;
  attempt: number;
  /** Jobs ahead of it; `null` if unknown or ended. */
  position: number | null;
  input: Input | null;
  /** The whole text. */
  content: string;
  parts: Part[];
  /** The texts of `status` events. */
  steps: { message: string; id: string }[];
  usage: { input_tokens?: number; output_tokens?: number; model?: string; [field: string]: any }[];
  /** The parts that were visible before the last takeover. */
  discarded: Part[];
  result: any;
  error: { code: string; message: string; retryable?: boolean } | null;
  /** Milliseconds since 1970. */
  started_at: number | null;
  ended_at: number | null;
  /** The job that it follows, `null` for none; undefined until it is known: then the one before it. */
  after?: string | null;
}

export type Message = GivenMessage | JobMessage;

export interface SessionState {
  /** For each job on the path to the newest one the messages of its input and one of the assistant. */
  messages: Message[];
  /** The job that runs, otherwise the next one, otherwise `null`. */
  job: JobMessage | null;
  /** The question for which that job waits. */
  question: QuestionPart | null;
  connection: Connection;
  /** Why the beginning of the messages is incomplete, or `null`. */
  gap: "trimmed" | "expired" | null;
  /** Why the connection is `failed`. */
  error: Error | null;
  /** The id of the last event in `messages`. */
  cursor: string;
}

/** The state of one session. Connected while it has listeners. */
export class Session {
  readonly id: string;
  /** An immutable snapshot. What did not change is the same object as before. */
  readonly state: SessionState;
  /**
   * Call a function after changes, at most every 16 ms, with the events since its last call.
   * Returns a function that ends the subscription.
   */
  subscribe(listener: (state: SessionState, events: HoldfastEvent[]) => void): () => void;
  /** Submit a job to this session; see `Client.send`. */
  send(input: Input, options: JobOptions): Promise<Accepted>;
  /** Replace the input of a job: the new job follows the one that it followed, and the conversation goes on from there. */
  edit(job_id: string, input: Input, options?: Partial<JobOptions>): Promise<Accepted>;
  /** Ask for another answer to the input of a job, by default of the last one in `state.messages`. */
  retry(job_id?: string, options?: CallOptions & { idempotencyKey?: string }): Promise<Accepted>;
  /** Cancel a job, by default `state.job`. */
  cancel(job_id?: string, options?: CallOptions): Promise<void>;
  /** Answer `state.question`. Throws an Error if there is none. */
  answer(value: unknown, options?: CallOptions & { questionId?: string }): Promise<void>;
  /** Cancel open jobs and delete the session. */
  delete(options?: CallOptions): Promise<void>;
}

/**
 * A client of one gateway. `url` is its address, in a page by default that of the page; a path in it is a prefix.
 *
 * Every call is repeated while its outcome is open (no response, 502, 503, 504), for at most `retryMs`. It throws
 * HoldfastError, or the reason of its `signal`.
 */
export class Client {
  constructor(url?: string, options?: ClientOptions);
  /** Submit a job. It is queued once, however often the request is repeated. */
  send(input: Input, options: SendOptions): Promise<Accepted>;
  /**
   * The events of a session, by its id, or of a job, in order and once each. Reconnects by itself. The events of a job
   * end behind its terminal event, those of a session behind `session.deleted`.
   *
   * Throws HoldfastError for a lasting refusal, such as 404.
   */
  events(target: string | JobName, options?: EventOptions): AsyncGenerator<HoldfastEvent, void, undefined>;
  /**
   * Read a job to its end, as the message with which its agent answered. `gap` says why its beginning is incomplete, or
   * is `null`. Throws HoldfastError like `events`.
   */
  read(job: JobName, options?: EventOptions): Promise<JobMessage & { gap: string | null }>;
  /** The state of a session, which need not exist yet. */
  session(id: string): Session;
  /** The available agents with their input schemas. */
  agents(options?: CallOptions): Promise<{ name: string; [field: string]: any }[]>;
  /**
   * The stored conversation of a session, and the cursor at which it is valid. For a session that does not exist yet, no
   * messages and an empty `cursor`.
   */
  messages(session_id: string, options?: CallOptions): Promise<{ messages: any[]; cursor: string; [field: string]: any }>;
  /** The records of all jobs of a session, oldest first. */
  jobs(session_id: string, options?: CallOptions): Promise<(JobName & { status: JobStatus; [field: string]: any })[]>;
  cancel(job: JobName, options?: CallOptions): Promise<unknown>;
  /** Answer the question `questionId` of a job, by default the open one. */
  answer(job: JobName, value: unknown, options?: CallOptions & { questionId?: string }): Promise<unknown>;
  delete(session_id: string, options?: CallOptions): Promise<unknown>;
}
