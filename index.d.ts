// Types of the public API, written by hand: index.js is checked against them by `npm run check`.

/** What every call takes. */
export interface CallOptions {
  /** Aborting rejects the call with `CANCELLED` and stops the daemon's work on it. */
  signal?: AbortSignal;
  /** Milliseconds until the call rejects with `TIMEOUT`, starting the daemon included. Default 0: no limit. */
  timeoutMs?: number;
}

export interface ConnectOptions extends CallOptions {
  /**
   * A directory. Its project is the nearest directory upwards that holds `.offheap/config.json`, or the directory
   * itself. Without one the client can embed, but not index or search.
   */
  project?: string;
  /**
   * `'hash'`: where no model can be loaded, `embed` gives hashed vectors, marked `degraded` and of a space of their own,
   * instead of an error. They know shared words and nothing else. Search never uses them.
   */
  fallback?: 'hash';
}

/** How a client goes on where it cannot have a daemon of the usual kind. */
export type Fallback =
  /** The system refuses local sockets and loopback TCP: a private daemon of this process, over pipes. */
  | 'standalone'
  /** The system refuses local sockets: loopback TCP, with a secret that only this user can read. */
  | 'tcp'
  /** No model can be loaded, and `fallback: 'hash'` was asked for. */
  | 'hash';

/** What every answer says of the way it came. */
export interface Answer {
  /** Absent where the daemon of the usual kind answered. */
  fallback?: Fallback;
}

/**
 * Opens a client. Starts the daemon if none runs; it leaves by itself after 10 idle minutes. A client never keeps
 * Node alive.
 *
 * @throws {OffheapError} `INVALID_ARGUMENT`, `SIDECAR_NOT_FOUND`, `DAEMON_START_FAILED`, `DAEMON_NOT_RUNNING` (where the
 * project forbids a start), `DAEMON_LOST`, `DAEMON_UNRESPONSIVE`, `CLIENT_TOO_OLD`, `FORBIDDEN`, `CONFIG_INVALID`, `PROTOCOL`. Every
 * later call can meet these as well, and `POISONED`, when the daemon died of it twice.
 */
export function connect(options?: ConnectOptions): Promise<Client>;

export interface EmbedOptions extends CallOptions {
  /** What the text is to the model; some models prefix queries. Default `'document'`. */
  kind?: 'document' | 'query';
  /**
   * What `[SEP]` and the like in a text mean: `'parse'` (default) reads them as the model's special tokens, as its own
   * library does; `'text'` reads them as characters, for texts of strangers. Indexing and search always use `'text'`.
   */
  specialTokens?: 'parse' | 'text';
}

/** Milliseconds. */
export interface EmbedTiming {
  /** Waiting for the model's turn, the longest over the texts. */
  queueMs: number;
  /** Making tokens. */
  tokeniseMs: number;
  /** In the model. */
  modelMs: number;
}

export interface Embedding {
  /** A unit vector. */
  vector: Float32Array;
  /** Tokens it was computed from, the two special ones included. */
  tokens: number;
  /** The text was longer than the model reads; only its beginning counts. */
  truncated: boolean;
  /** The vector space: never compare vectors of two spaces. */
  space: string;
  timing: EmbedTiming;
  /** Why this is not what the model would give: `fallback: 'hash'`. */
  degraded?: string;
  /** See {@link Answer}. */
  fallback?: Fallback;
}

/** Vectors of a batch, in the order of its texts. Iterating gives the rows. */
export interface Vectors extends Iterable<Float32Array> {
  /** Texts. */
  readonly length: number;
  /** Length of a row; 0 for an empty batch. */
  readonly dim: number;
  /** All rows, one after another: row `i` begins at `i * dim`. */
  readonly values: Float32Array;
  /** Tokens per text. */
  readonly tokens: Uint32Array;
  /** Whether each text was longer than the model reads. */
  readonly truncated: boolean[];
  /** The vector space; empty for an empty batch. */
  readonly space: string;
  readonly timing: EmbedTiming | null;
  /** Why these are not what the model would give: `fallback: 'hash'`. */
  readonly degraded?: string;
  /** See {@link Answer}. */
  readonly fallback?: Fallback;
  /** Row `i` as a view into `values`. @throws {RangeError} */
  row(i: number): Float32Array;
}

export interface Progress {
  /** `'scan'` looks for files, `'text'` reads and chunks them, `'embed'` computes vectors (text search answers already). */
  phase: 'scan' | 'text' | 'embed';
  /** Files or, while embedding, chunks. */
  done: number;
  /** 0 while unknown. */
  total: number;
  elapsedMs: number;
  /** The file at hand. */
  path: string;
}

export interface IndexOptions extends CallOptions {
  /** Read everything anew; embeddings of unchanged content are re-used all the same. The old index answers until the run ends. */
  rebuild?: boolean;
  /** Called at most ten times a second with the newest state. What it throws ends the run, and the run rejects with it. */
  onProgress?: (progress: Progress) => void;
}

export interface IndexReport extends Answer {
  /** The committed generation that searches now see. */
  generation: number;
  files: number;
  filesChanged: number;
  filesRemoved: number;
  /** Files that were left out, with `'binary'`, `'too_large'`, `'not_utf8'`, `'generated'`, `'unreadable'`, `'symlink'`, `'too_many_rules'` ... */
  skipped: { path: string; reason: string }[];
  /** Their number; `skipped` lists the first 5,000. */
  skippedTotal: number;
  chunks: number;
  /** Chunks that have a vector; fewer than `chunks` only where files changed during the run. */
  vectors: number;
  /** Vectors computed in this run. */
  embedded: number;
  /** Vectors found in the embedding cache. */
  reused: number;
  /** Tokens read by the model in this run. */
  tokens: number;
  /** Milliseconds until all of the text could be searched; the first part of a large tree answers after half a second. */
  textMs: number;
  totalMs: number;
  /** There was an index that this user did not make on this machine, one that came with the repository: it was begun anew. */
  foreign: boolean;
}

/** Await it for the report, or iterate over its progress: `for await (const p of client.index())`. */
export interface IndexRun extends Promise<IndexReport>, AsyncIterable<Progress> {}

export interface SearchOptions extends CallOptions {
  /**
   * `'hybrid'` (default) fuses vectors and full text, `'semantic'` uses vectors, `'text'` full text. `'symbol'` finds
   * definitions by name. `'regex'` finds lines in the files as they are now, and needs neither an index nor a model; its
   * syntax is that of Rust's `regex` crate, a match never spans lines.
   */
  mode?: SearchMode;
  /** Hits, 1 to 1000. Default 10. */
  limit?: number;
  /** Only paths that match one of them, in `.gitignore` syntax; `!` in front excludes. Applied before ranking. */
  globs?: string[];
  /** Only these languages: `'rust'`, `'typescript'`, `'markdown'` ... Applied before ranking. */
  languages?: string[];
  /**
   * What is done about changes that are not indexed yet. `'stale-ok'` (default) answers at once from what is there;
   * `{ waitMs }` brings them in first, but answers with what is there when that time is over. `coverage.fresh` says
   * how it went.
   */
  fresh?: 'stale-ok' | { waitMs: number };
  /** Each hit says in `why` what its score is made of. */
  explain?: boolean;
  /** `'regex'` only. `'smart'` (default): case counts where the pattern has an upper-case letter. */
  case?: 'smart' | 'sensitive' | 'insensitive';
  /** `'regex'` only: lines of `text` before and after the one that matches, 0 (default) to 20. */
  context?: number;
}

export type SearchMode = 'hybrid' | 'semantic' | 'text' | 'regex' | 'symbol';

/** One part of a score. */
export interface Contribution {
  /** `'bm25'`, `'cosine'`, `'definition'` ... */
  name: string;
  value: number;
}

/** A definition that was found by its name. */
export interface SymbolMatch {
  name: string;
  /** `'function'`, `'method'`, `'class'` ... */
  kind: string;
  /** Line of the name, from 1. */
  line: number;
  /**
   * How the name fits: letter for letter, but for its case, by its beginning, by the beginnings of its words (`HmB`
   * for `HashMapBuilder`), or with one or two typing errors.
   */
  fit: 'exact' | 'case' | 'prefix' | 'humps' | 'fuzzy';
}

/** A match within a line. */
export interface Span {
  /** From 1. */
  line: number;
  /** First column, from 1, in UTF-16 units, as JavaScript counts. */
  start: number;
  /** Column after the last. */
  end: number;
}

export interface Hit {
  /** Relative to the project, `/` between parts. */
  path: string;
  /** From 1. */
  startLine: number;
  /** Inclusive. */
  endLine: number;
  /** Higher is better; comparable within one answer only. */
  score: number;
  language: string;
  /** Enclosing definitions, outermost first, joined with ` > `. */
  scope: string;
  /** Names that the chunk defines. */
  symbols: string[];
  /**
   * The chunk; empty where its file holds something else by now than was indexed. With `'regex'`, the line and its context as they
   * are on disk now, where very long lines are cut with `…`.
   */
  text: string;
  /** The file changed since it was indexed: lines may be off. */
  stale: boolean;
  /** What the score is made of, in order, where `explain` asked for it. */
  why?: Contribution[];
  /** With mode `'symbol'`. */
  symbol?: SymbolMatch;
  /** With mode `'regex'`; of a line with very many, the first. */
  matches?: Span[];
}

/** What an answer was made from. */
export interface Coverage {
  /** Files in the index; with mode `'regex'`, files that were read. */
  files: number;
  /** Chunks in the index. */
  chunks: number;
  /** Of them, chunks that have a vector. */
  vectors: number;
  /** The project is watched, and no change of it is known that the answer lacks. Always true with `'regex'`. */
  fresh: boolean;
  /** Changed files and folders that wait to be indexed; absent where their number is not known. */
  pendingFiles?: number;
}

export interface SearchResult extends Answer {
  /** Best first. */
  hits: Hit[];
  /** The mode that was really used: `'text'` where `'hybrid'` had no vectors. */
  mode: SearchMode;
  /** Why the answer is less than what was asked for: vectors missing, no model. Absent if it is not. */
  degraded?: string;
  /** The vector space, where vectors were used. */
  space?: string;
  /** The committed generation that answered; 0 with `'regex'`, which asks the files. */
  generation: number;
  coverage: Coverage;
  /** There are more hits than `limit`; only `'regex'` and `'symbol'` tell. */
  truncated: boolean;
  /** Milliseconds spent waiting for changes to be indexed. */
  waitMs: number;
  /** Milliseconds to embed the query. */
  embedMs: number;
  /** Milliseconds to search and rank. */
  searchMs: number;
  /** Another process owns the index and cannot be asked; the answer is from what that one has committed. */
  readOnly: boolean;
}

export interface Status extends Answer {
  /** Version of the daemon. */
  version: string;
  pid: number;
  uptimeMs: number;
  project?: string;
  /** Absent until a request needed the model. */
  model?: {
    name: string;
    architecture: string;
    quantisation: string;
    dim: number;
    contextLength: number;
    /** SHA-256 of the file. */
    fingerprint: string;
    path: string;
    /** Instruction set in use. */
    kernel: string;
    threads: number;
  };
  /** Absent where there is no index. */
  index?: { generation: number; files: number; chunks: number; vectors: number; bytes: number };
  indexing: boolean;
  connections: number;
  requests: number;
  faults: number;
  /** Texts that wait for the model. */
  queued: number;
  /** Anonymous resident memory of the daemon, where the system tells. */
  anonBytes?: number;
  /** File-backed resident memory: the mapped model is here, shared with every other daemon. */
  fileBytes?: number;
  /** How changes of the project are noticed; absent without a project. */
  watch?: WatchStatus;
  /** How clients reach it. */
  transport: 'local' | 'tcp' | 'standalone';
  /** Daemons that began at this endpoint, this one included. */
  starts: number;
  /** Of its predecessors, those that died without a word. */
  crashes: number;
  /** Another process owns the index: this one reads what that one commits. */
  readOnly: boolean;
  /** What was done since the daemon was ready, and what is going on. */
  load: LoadStatus;
}

/** Numbers only: nothing of what was asked. */
export interface LoadStatus {
  /** Bytes of texts whose calls are not answered. */
  waitingBytes: number;
  /** Searches, greps and index runs that occupy a thread now. */
  working: number;
  /** Requests answered; a large `embedBatch` is several. */
  requests: { embed: number; search: number; index: number; other: number };
  /** Requests answered with `CANCELLED`. */
  cancelled: number;
  /** Requests answered with `TIMEOUT`. */
  timedOut: number;
  /** Requests answered with `OVERLOADED`. */
  overloaded: number;
  /** How long successful requests took in the daemon, waiting included. */
  embed: Latency;
  /** The same for searches. */
  search: Latency;
  /** Connections that the daemon ended, and why. */
  cutOff: { malformed: number; slowReader: number; slowSender: number };
  /** How often the model and the index were let go because nobody used them. */
  evictions: number;
}

/** Quantiles are the ends of their buckets: no more than twice the truth. */
export interface Latency {
  p50Ms: number;
  p90Ms: number;
  p99Ms: number;
  maxMs: number;
  /** Bucket `i` counts what took less than `2^i` microseconds and fits no smaller one; the last one takes the rest. */
  buckets: number[];
}

export interface WatchStatus {
  /**
   * `'watching'`: the system tells of changes. `'polling'`: it cannot, the tree is looked through now and then;
   * `problem` says why. `'off'`: not asked for, or nothing used the index yet.
   */
  state: 'off' | 'watching' | 'polling';
  /** Folders that are watched. */
  folders: number;
  /** Changed files and folders that wait to be indexed; absent where their number is not known. */
  pending?: number;
  /** Changes are being indexed now. */
  busy: boolean;
  /** Why it polls, or why the last changes could not be indexed. */
  problem?: string;
}

/** A connection to one project's daemon, or to the user's. Reconnects by itself; usable from worker threads. */
export interface Client extends AsyncDisposable {
  /** The project's root, or null. */
  readonly project: string | null;
  /** Hears once how the client goes on where it has no daemon of the usual kind. Without a listener Node prints a warning. */
  on(event: 'fallback', listener: (fallback: { kind: Fallback; message: string }) => void): this;
  /** One vector. @throws {OffheapError} `MODEL_NOT_FOUND`, `MODEL_DAMAGED`, `MODEL_UNSUPPORTED`, `MODEL_FAILED`, `TOO_LARGE` */
  embed(text: string, options?: EmbedOptions): Promise<Embedding>;
  /** Vectors for many texts. More than 16 count as bulk: single questions pass them. */
  embedBatch(texts: string[], options?: EmbedOptions): Promise<Vectors>;
  /** Brings the project's index up to date; continues where a stopped run ended. @throws {OffheapError} `NO_PROJECT`, `INDEX_BUSY` */
  index(options?: IndexOptions): IndexRun;
  /** Ranked code, lines or definitions. @throws {OffheapError} `NO_PROJECT`, `NO_INDEX`, `INVALID_ARGUMENT` */
  search(query: string, options?: SearchOptions): Promise<SearchResult>;
  /** What the daemon is doing; null where none runs. Never starts one. */
  status(options?: CallOptions): Promise<Status | null>;
  /** Drops the model and the open index from the daemon's memory; with `stored`, also the stored embeddings. */
  clearCache(options?: CallOptions & { stored?: boolean }): Promise<{ embeddings: number }>;
  /** Milliseconds to the daemon and back. */
  ping(options?: CallOptions): Promise<number>;
  /** Asks the daemon to finish and leave; false where none runs. */
  shutdown(options?: CallOptions): Promise<boolean>;
  /** Further calls reject with `CLOSED`. The daemon goes on. */
  close(): Promise<void>;
}

/** Every code an {@link OffheapError} can have. */
export type ErrorCode =
  | 'INTERNAL'
  | 'INVALID_ARGUMENT'
  | 'TOO_LARGE'
  | 'CANCELLED'
  | 'TIMEOUT'
  | 'OVERLOADED'
  | 'LEAVING'
  | 'NO_PROJECT'
  | 'NO_INDEX'
  | 'INDEX_BUSY'
  | 'INDEX_LOCKED'
  | 'INDEX_DAMAGED'
  | 'INDEX_FORMAT'
  | 'MODEL_NOT_FOUND'
  | 'MODEL_DAMAGED'
  | 'MODEL_UNSUPPORTED'
  | 'MODEL_FAILED'
  | 'CONFIG_INVALID'
  | 'DISK_FULL'
  | 'IO'
  | 'DAEMON_NOT_RUNNING'
  | 'DAEMON_START_FAILED'
  | 'DAEMON_LOST'
  | 'DAEMON_UNRESPONSIVE'
  | 'PROTOCOL'
  | 'FORBIDDEN'
  | 'SIDECAR_NOT_FOUND'
  | 'CLOSED'
  | 'CLIENT_TOO_OLD'
  | 'DAEMON_TOO_OLD'
  | 'SOCKETS_REFUSED'
  | 'POISONED'
  | 'UNSAFE_PATH'
  | 'INDEX_FOREIGN';

/** Every failure of this package. */
export class OffheapError extends Error {
  readonly name: 'OffheapError';
  /** Stable; branch on this, never on the text. */
  readonly code: ErrorCode;
  /** What to do about it; may be empty. */
  readonly hint: string;
}

/** What each code means. */
export const ERROR_CODES: Readonly<Record<ErrorCode, string>>;
