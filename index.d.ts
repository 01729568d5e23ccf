// Types and documentation of the public API, written by hand. `npm run check` compiles them with their examples, and
// __test__/declarations.test.mjs requires a comment for every member.

/** Options of every method. */
export interface CallOptions {
  /** Aborting it rejects the call with `CANCELLED` and stops the daemon's work on it. `error.cause` is the signal's reason. */
  signal?: AbortSignal;
  /**
   * Milliseconds until the call rejects with `TIMEOUT`, starting the daemon included. A whole number from 0 to 4294967295.
   * Default 0: no limit.
   */
  timeoutMs?: number;
}

/** Options of {@link connect}. `signal` and `timeoutMs` are for opening the connection, not for later calls. */
export interface ConnectOptions extends CallOptions {
  /**
   * A directory, which must exist. Its project is the nearest directory upwards that holds `.offheap/config.json`, but none beyond a
   * directory with `.git`, which is the project otherwise; else the directory itself. Default: no project; the client can embed, but not index or search.
   */
  project?: string;
  /**
   * `'hash'`: where no model can be loaded, `embed` and `embedBatch` return hashed vectors instead of an error. They are marked
   * `degraded`, have a vector space of their own, and are near each other only where texts share words. Search never uses them.
   * Default: an error.
   */
  fallback?: 'hash';
  /**
   * What the program calls itself, 1 to 64 characters, to be recognised in `offheap status` and {@link Status.clients}. All clients
   * of a process share one connection to a daemon, which has the name of the client that opened it. Default: the name and version of
   * this package alone.
   */
  name?: string;
}

/** How a client works where it cannot have a shared daemon on a local socket, or no model. */
export type Fallback =
  /** The system refuses local sockets and loopback TCP: this process runs a private daemon over pipes. */
  | 'standalone'
  /** The system refuses local sockets: the daemon is reached over loopback TCP, with a secret that only this user can read. */
  | 'tcp'
  /** No model can be loaded, and `fallback: 'hash'` was asked for. */
  | 'hash';

/** Member of every object that a method returns. */
export interface Answer {
  /** The fallback that this answer came by. Absent where a shared daemon answered over a local socket. */
  fallback?: Fallback;
}

/** Codes that any method can reject with. {@link ERROR_CODES} has the meaning of each. */
export type CallErrorCode =
  | 'INTERNAL'
  | 'INVALID_ARGUMENT'
  | 'CANCELLED'
  | 'TIMEOUT'
  | 'LEAVING'
  | 'IO'
  | 'DAEMON_LOST'
  | 'DAEMON_UNRESPONSIVE'
  | 'PROTOCOL'
  | 'FORBIDDEN'
  | 'CLOSED'
  | 'CLIENT_TOO_OLD'
  | 'DAEMON_TOO_OLD';

/**
 * Codes that a method can reject with when it may start a daemon: all methods but `status`, `shutdown` and `close`.
 *
 * `DAEMON_NOT_RUNNING`: `daemon.enabled` is false in `.offheap/config.json`, or 100 daemons in a row shut down before they took the request.
 */
export type StartErrorCode =
  | 'CONFIG_INVALID'
  | 'DISK_FULL'
  | 'DAEMON_NOT_RUNNING'
  | 'DAEMON_START_FAILED'
  | 'SIDECAR_NOT_FOUND'
  | 'SOCKETS_REFUSED'
  | 'POISONED'
  | 'UNSAFE_PATH';

/** Codes that a method can reject with when it needs the model. */
export type ModelErrorCode = 'MODEL_NOT_FOUND' | 'MODEL_DAMAGED' | 'MODEL_UNSUPPORTED' | 'MODEL_FAILED' | 'OVERLOADED';

/**
 * Opens a client. Starts the daemon if none runs; the daemon leaves by itself after 10 idle minutes. A client never keeps Node
 * alive, and may be used from worker threads.
 *
 * @throws {OffheapError} any {@link CallErrorCode} but `CLOSED`, and any {@link StartErrorCode}.
 * @example
 * import { connect } from 'offheap';
 *
 * const client = await connect({ project: '.' });
 * await client.index();
 * const { hits } = await client.search('where are retries decided', { limit: 3 });
 * for (const hit of hits) console.log(`${hit.path}:${hit.startLine}`, hit.scope);
 */
export function connect(options?: ConnectOptions): Promise<Client>;

/** Options of {@link Client.embed} and {@link Client.embedBatch}. */
export interface EmbedOptions extends CallOptions {
  /** What the text is to the model. Changes nothing so far: no supported model gets a prefix. Default `'document'`. */
  kind?: 'document' | 'query';
  /**
   * What `[SEP]` and other special tokens in a text mean. `'parse'` (default): the model's special tokens, as in the model's own
   * library. `'text'`: characters; use it for texts that you do not trust. Indexing and search always use `'text'`.
   */
  specialTokens?: 'parse' | 'text';
}

/** Where the time of an embedding went, milliseconds; for a batch, the longest time over its texts. */
export interface EmbedTiming {
  /** Waiting until the model was free. */
  queueMs: number;
  /** Splitting the text into tokens. */
  tokeniseMs: number;
  /** Computing the vector. */
  modelMs: number;
}

/** The result of {@link Client.embed}. */
export interface Embedding {
  /** A vector of length 1, with 384 numbers for the default model. */
  vector: Float32Array;
  /** Number of tokens the vector was computed from, special tokens included. */
  tokens: number;
  /** True if the text was longer than the model reads (512 tokens for the default model); the vector is of its beginning. */
  truncated: boolean;
  /** Name of the vector space: the model's name and part of its file's SHA-256. Vectors of two spaces cannot be compared. */
  space: string;
  /** Where the time went. */
  timing: EmbedTiming;
  /** Why this is a hashed vector. Absent unless `fallback: 'hash'` was asked for and no model could be loaded. */
  degraded?: string;
  /** The fallback that this answer came by. Absent where a shared daemon answered over a local socket. */
  fallback?: Fallback;
}

/** The result of {@link Client.embedBatch}: vectors in the order of the texts. Iterating gives the rows. */
export interface Vectors extends Iterable<Float32Array> {
  /** Number of texts. */
  readonly length: number;
  /** Numbers per row. 0 for an empty batch. */
  readonly dim: number;
  /** All rows, one after another: row `i` begins at `i * dim`. */
  readonly values: Float32Array;
  /** For each text, the number of tokens its vector was computed from. */
  readonly tokens: Uint32Array;
  /** For each text, whether it was longer than the model reads. */
  readonly truncated: boolean[];
  /** Name of the vector space. Empty for an empty batch. */
  readonly space: string;
  /** Where the time went. Null for an empty batch. */
  readonly timing: EmbedTiming | null;
  /** Why these are hashed vectors. Absent unless `fallback: 'hash'` was asked for and no model could be loaded. */
  readonly degraded?: string;
  /** The fallback that this answer came by. Absent where a shared daemon answered over a local socket. */
  readonly fallback?: Fallback;
  /**
   * Row `i`, from 0, as a view into `values`: a change of one changes the other.
   *
   * @throws {RangeError} if there is no such row.
   * @example
   * const vectors = await client.embedBatch(['open a file', 'close it']);
   * const similarity = vectors.row(0).reduce((sum, x, i) => sum + x * vectors.row(1)[i], 0);
   */
  row(i: number): Float32Array;
}

/** How far an index run is. */
export interface Progress {
  /** `'scan'`: files are looked for. `'text'`: they are read and cut into chunks. `'embed'`: vectors are computed; text search answers already. */
  phase: 'scan' | 'text' | 'embed';
  /** Number of files, or of chunks with phase `'embed'`, that are done. */
  done: number;
  /** Number of files or chunks in all. 0 while it is not known. */
  total: number;
  /** Milliseconds since the run began. */
  elapsedMs: number;
  /** The file at hand, relative to the project. */
  path: string;
}

/** Options of {@link Client.index}. */
export interface IndexOptions extends CallOptions {
  /**
   * Reads every file again, and replaces an index of a newer version. Vectors of unchanged text come from the cache. Searches use the
   * old index until the run ends. Default false: only new and changed files are read.
   */
  rebuild?: boolean;
  /**
   * Index a home directory, a root, or a tree of more than 200,000 files or 4 GiB, too. Otherwise these are refused with `NEEDS_FORCE`
   * before anything is made in them. Default false.
   */
  force?: boolean;
  /** Called with the newest progress, at most ten times a second. An error that it throws ends the run, which rejects with that error. */
  onProgress?: (progress: Progress) => void;
}

/** How many files are left out for one reason. */
export interface SkipCount {
  /** The reason, as in {@link IndexReport.skipped}. */
  reason: string;
  /** Number of files, and of folders that were not entered. */
  files: number;
}

/** The result of {@link Client.index}. */
export interface IndexReport extends Answer {
  /** Number of the committed generation that searches use from now on. */
  generation: number;
  /** Number of files in the index. */
  files: number;
  /** Number of files that were new or had changed. */
  filesChanged: number;
  /** Number of files that were removed from the index. */
  filesRemoved: number;
  /**
   * Files that were left out, the first 5,000 of them, each with its path relative to the project and the reason: `'binary'`,
   * `'file_system'`, `'generated'`, `'hidden'`, `'non_utf8_path'`, `'not_a_file'`, `'path_too_long'`, `'secret'`, `'symlink'`, `'too_large'`,
   * `'too_many_rules'`, `'unknown_encoding'`, `'unreadable'`, `'vanished'` or `'worktree'`.
   */
  skipped: { path: string; reason: string }[];
  /** Number of files that were left out. */
  skippedTotal: number;
  /** Skipped files by reason. */
  skippedByReason: SkipCount[];
  /** Number of chunks in the index. */
  chunks: number;
  /** Number of chunks that have a vector. Below `chunks - textOnly` only where files changed during the run. */
  vectors: number;
  /** Number of chunks of long texts, which are found by their words and never get a vector. */
  textOnly: number;
  /** Number of vectors computed in this run. */
  embedded: number;
  /** Number of vectors that were there already in this run: of chunks of changed files, or in the cache. */
  reused: number;
  /** Number of tokens that the model read in this run. */
  tokens: number;
  /** Milliseconds until all of the text could be searched. */
  textMs: number;
  /** Milliseconds in all. */
  totalMs: number;
  /** True if there was an index that this user did not make on this machine, such as one in a cloned repository. It was replaced. */
  foreign: boolean;
}

/**
 * A running index run. Await it for its report, or iterate over its progress. An iteration that ends early does not stop the run; to stop it,
 * abort `signal`.
 *
 * @example
 * for await (const { phase, done, total } of client.index()) console.log(phase, done, total);
 */
export interface IndexRun extends Promise<IndexReport>, AsyncIterable<Progress> {}

/** Options of {@link Client.search}. */
export interface SearchOptions extends CallOptions {
  /** How to search. Default: `search.mode` of the project's configuration, else `'hybrid'`. */
  mode?: SearchMode;
  /** Greatest number of hits, from 1 to 1000. Default: `search.limit` of the configuration, else 10. */
  limit?: number;
  /**
   * Only these files and folders, or paths that match one of these patterns in `.gitignore` syntax with braces; a leading `!` excludes, and
   * the last one that matches decides. What a file or folder is called like means it (`'app/[id]/page.tsx'`). Paths begin at the project's
   * root; absolute ones below it will do. `unmatched` of the result names those that fit no file. Applied before ranking. Default: all.
   */
  globs?: string[];
  /**
   * Only files of these languages: the names that hits have (`'rust'`, `'cpp'`, `'markdown'`), and the names, aliases and extensions of
   * GitHub's Linguist in any case (`'C++'`, `'golang'`, `'ts'`). `'typescript'` includes `.tsx`. An unknown one is `INVALID_ARGUMENT`.
   * Applied before ranking. Default: all.
   */
  languages?: string[];
  /**
   * What to do about changes of files that are not indexed yet. `'stale-ok'` (default, unless the configuration has `search.wait_ms`): answer at once. `{ waitMs }`: index them first, but
   * wait no longer than so many milliseconds, a whole number from 0 to 4294967295. `coverage.fresh` says whether any are missing.
   */
  fresh?: 'stale-ok' | { waitMs: number };
  /** Each hit lists in `why` what its score is made of. Default false. */
  explain?: boolean;
  /** Mode `'regex'` only. `'smart'` (default): case counts if the pattern has an upper-case letter. */
  case?: 'smart' | 'sensitive' | 'insensitive';
  /** Mode `'regex'` only: number of lines in `text` before and after the matching line, from 0 to 20. Default: `search.context`, else 0. */
  context?: number;
}

/** How {@link Client.search} searches. */
export type SearchMode =
  /** Ranks chunks by full text and vectors together. */
  | 'hybrid'
  /** Ranks chunks by vectors. */
  | 'semantic'
  /** Ranks chunks by full text. */
  | 'text'
  /** Finds lines in the files as they are now, without an index. The query has the syntax of Rust's `regex` crate; a match is within one line. */
  | 'regex'
  /** Finds definitions by name. */
  | 'symbol';

/** One part of a score. */
export interface Contribution {
  /**
   * Parts that are added: `'text'`, `'vectors'`, `'coherence'`, `'definition'`, `'file_name'`. Factors, which are multiplied, begin with
   * `'factor:'`. With mode `'symbol'`, the name's fit. Later versions may add names.
   */
  name: string;
  /** The summand or the factor. */
  value: number;
}

/** A definition that was found by its name. */
export interface SymbolMatch {
  /** The name as it is written in the file. */
  name: string;
  /** `'class'`, `'constant'`, `'enum'`, `'function'`, `'interface'`, `'macro'`, `'method'`, `'module'`, `'struct'`, `'trait'`, `'type'`, `'variable'`. */
  kind: string;
  /** Line of the name, from 1. */
  line: number;
  /**
   * How the name fits the query: `'exact'`, `'case'` but for upper and lower case, `'prefix'` by its beginning, `'humps'` by the beginnings
   * of its words (`HmB` finds `HashMapBuilder`), `'fuzzy'` with one or two typing errors.
   */
  fit: 'exact' | 'case' | 'prefix' | 'humps' | 'fuzzy';
}

/** A match within a line. */
export interface Span {
  /** Line, from 1. */
  line: number;
  /** First column, from 1, in UTF-16 units as JavaScript strings count. */
  start: number;
  /** Column after the last, from 1, in UTF-16 units. */
  end: number;
}

/** One result of a search: a chunk of a file; with mode `'regex'` a line. */
export interface Hit {
  /** Path relative to the project, with `/` between its parts. */
  path: string;
  /** First line, from 1. */
  startLine: number;
  /** Last line, inclusive. */
  endLine: number;
  /** Higher is better. Scores of different searches cannot be compared. 1 with mode `'regex'`. */
  score: number;
  /** Name of the code's language: in the script of a page or a cell of a notebook, that of the script or cell; `'text'` where it is not known. */
  language: string;
  /** Enclosing definitions, outermost first, joined with ` > `. Empty at the top level. */
  scope: string;
  /** Names that the chunk defines. */
  symbols: string[];
  /**
   * The chunk's text. Empty where its file no longer holds what was indexed. With mode `'regex'`, the line and its context as they are
   * on disk; very long lines are cut and marked with `…`.
   */
  text: string;
  /** True if the file changed after it was indexed, so that lines may be off. */
  stale: boolean;
  /** What the score is made of, in order. Absent without `explain`. */
  why?: Contribution[];
  /** The definition that was found. Mode `'symbol'` only. */
  symbol?: SymbolMatch;
  /** The matches in the line, the first ones of very many. Mode `'regex'` only. */
  matches?: Span[];
}

/** What the answer to a search was made from. */
export interface Coverage {
  /** Number of files in the index. With mode `'regex'`, number of files that were read. */
  files: number;
  /** Number of chunks in the index. 0 with mode `'regex'`. */
  chunks: number;
  /** Number of chunks that have a vector. 0 with mode `'regex'`. */
  vectors: number;
  /** Number of chunks of long texts, which are found by their words and never get a vector. 0 with mode `'regex'`. */
  textOnly: number;
  /** Number of files of the project that are left out of the index. With mode `'regex'`, of those that this search looked at. */
  skippedTotal: number;
  /** Skipped files by reason. */
  skippedByReason: SkipCount[];
  /** True if the project is watched and the answer lacks no known change. Always true with mode `'regex'`. */
  fresh: boolean;
  /** Number of changed files and folders that wait to be indexed. Absent where it is not known. */
  pendingFiles?: number;
}

/** The result of {@link Client.search}. */
export interface SearchResult extends Answer {
  /** Best first. */
  hits: Hit[];
  /** The mode that was used: `'text'` where `'hybrid'` was asked for and there were no vectors. */
  mode: SearchMode;
  /** Why the answer is less than what was asked for, such as missing vectors. Absent where it is not. */
  degraded?: string;
  /** Name of the vector space. Absent where no vectors were used. */
  space?: string;
  /** Number of the committed generation that was searched. 0 with mode `'regex'`. */
  generation: number;
  /** What the answer was made from. */
  coverage: Coverage;
  /** Those of `globs` that no file fits, as they were given: an exclusion among them excludes nothing. Of very many, the first 100. */
  unmatched: string[];
  /** True if there are more hits than `limit`. Always false with ranked modes, whose lists have no natural end. */
  truncated: boolean;
  /** Milliseconds spent waiting for changes to be indexed. */
  waitMs: number;
  /** Milliseconds spent embedding the query. */
  embedMs: number;
  /** Milliseconds spent searching and ranking. */
  searchMs: number;
  /** True if another daemon owns the index; the answer is from what that one has committed. */
  readOnly: boolean;
}

/** The loaded model. */
export interface ModelStatus {
  /** The name in the model file. */
  name: string;
  /** Architecture of the network, such as `'bert'`. */
  architecture: string;
  /** Format of the weights, such as `'Q8_0'`. */
  quantisation: string;
  /** Numbers per vector. */
  dim: number;
  /** Greatest number of tokens that the model reads of a text. */
  contextLength: number;
  /** SHA-256 of the file, in hexadecimal. */
  fingerprint: string;
  /** Path of the file. */
  path: string;
  /** Instruction set in use. */
  kernel: string;
  /** Number of threads that compute. */
  threads: number;
}

/** The stored index. */
export interface IndexStatus {
  /** Number of the last committed generation. */
  generation: number;
  /** Number of files. */
  files: number;
  /** Number of chunks. */
  chunks: number;
  /** Number of chunks that have a vector. */
  vectors: number;
  /** Number of chunks of long texts, which are found by their words and never get a vector. */
  textOnly: number;
  /** Number of files of the project that are left out of the index. */
  skippedTotal: number;
  /** Skipped files by reason. */
  skippedByReason: SkipCount[];
  /** Bytes on disk, the cache of vectors included. */
  bytes: number;
  /** Whether searches in the modes `text` and `symbol` find something: there are chunks. */
  textSearch: boolean;
  /** Whether searches compare vectors: there are some, and they are of the loaded model's vector space, if a model is loaded. */
  vectorSearch: boolean;
}

/** The result of {@link Client.status}. */
export interface Status extends Answer {
  /** Version of the daemon. */
  version: string;
  /** Process identifier of the daemon. */
  pid: number;
  /** Milliseconds since the daemon was ready. */
  uptimeMs: number;
  /** The project's root. Absent for the daemon without a project. */
  project?: string;
  /** The loaded model. Absent until a request needs it, and after it was dropped. */
  model?: ModelStatus;
  /** The stored index. Absent where there is none. */
  index?: IndexStatus;
  /** True while a call of `index()`, of any client, is running. */
  indexing: boolean;
  /** Number of open connections. */
  connections: number;
  /** Number of requests answered. */
  requests: number;
  /** Number of requests answered with an error. */
  faults: number;
  /** Number of texts that wait for the model. */
  queued: number;
  /** Bytes of anonymous resident memory of the daemon. Absent where the system does not tell. */
  anonBytes?: number;
  /** Bytes of file-backed resident memory, such as the mapped model, which daemons share. Absent where the system does not tell. */
  fileBytes?: number;
  /** How changes of the project are noticed. Absent without a project. */
  watch?: WatchStatus;
  /** How clients reach the daemon: local socket, loopback TCP, or the pipes of one process. */
  transport: 'local' | 'tcp' | 'standalone';
  /** Number of daemons that have started at this endpoint, this one included. */
  starts: number;
  /** Number of earlier daemons at this endpoint that crashed. */
  crashes: number;
  /** True if another daemon owns the index; this one reads what that one commits. */
  readOnly: boolean;
  /** What the daemon is doing, and what it has done since it was ready. */
  load: LoadStatus;
  /** When the daemon was used last, and what it does when nobody uses it. */
  idle: IdleStatus;
  /** The embedding cache of the index, which keeps vectors by content: how often index runs found a chunk's vector there. */
  embeddingCache: CacheStatus;
  /** Open connections by the name of their client, most connections first; at most 32 names. */
  clients: ClientStatus[];
}

/** When the daemon was used last, and what it does when nobody uses it. Times are exact to the next check of idleness. */
export interface IdleStatus {
  /** Milliseconds since the last request, not counting `ping()` and `status()`. Absent before the first one. */
  lastUseMs?: number;
  /**
   * Milliseconds until the model and the index are dropped from memory if no request comes. Absent while requests are worked on, and
   * after they were dropped.
   */
  unloadInMs?: number;
  /** Milliseconds until the daemon leaves if no request comes. Absent while requests are worked on, and for a private daemon. */
  leaveInMs?: number;
}

/** Look-ups in the embedding cache since the daemon was ready, over all index runs, those in the background included. */
export interface CacheStatus {
  /** Number of chunks whose vector was found. */
  hits: number;
  /** Number of chunks whose vector had to be computed. */
  misses: number;
}

/** The connections of clients that have the same name. */
export interface ClientStatus {
  /** The name, such as `my-app (offheap-node 0.1.0)`. */
  name: string;
  /** How many of them are open. */
  connections: number;
}

/** What the daemon is doing, and what it has done since it was ready: numbers only, nothing of what was asked. */
export interface LoadStatus {
  /** Bytes of the texts of calls that are not answered yet. */
  waitingBytes: number;
  /** Number of searches and index runs that occupy a thread now. */
  working: number;
  /** Number of requests answered, by kind; a large `embedBatch` is several requests. `other` includes each connection's greeting. */
  requests: { embed: number; search: number; index: number; other: number };
  /** Number of requests answered with `CANCELLED`. */
  cancelled: number;
  /** Number of requests answered with `TIMEOUT`. */
  timedOut: number;
  /** Number of requests answered with `OVERLOADED`. */
  overloaded: number;
  /** How long successful embedding requests took in the daemon, waiting included. */
  embed: Latency;
  /** How long successful searches took in the daemon, waiting included. */
  search: Latency;
  /** Number of connections that the daemon closed, by reason: malformed bytes, answers not read in time, a frame not finished in time. */
  cutOff: { malformed: number; slowReader: number; slowSender: number };
  /** How often the model and the index were dropped because they were not used. */
  evictions: number;
}

/** How long requests took, milliseconds. A quantile is the end of its bucket: at most twice the exact value. */
export interface Latency {
  /** Half of the requests took less. */
  p50Ms: number;
  /** 90 % of the requests took less. */
  p90Ms: number;
  /** 99 % of the requests took less. */
  p99Ms: number;
  /** The longest request. */
  maxMs: number;
  /** Number of requests per bucket: bucket `i` counts those from `2^(i-1)` to less than `2^i` microseconds, the last one all longer ones. */
  buckets: number[];
}

/** How changes of the project are noticed. */
export interface WatchStatus {
  /**
   * `'watching'`: the system reports changes. `'polling'`: it cannot, and the tree is scanned at intervals; `problem` says why.
   * `'off'`: watching is disabled, or the index was not used yet.
   */
  state: 'off' | 'watching' | 'polling';
  /** Number of folders that are watched. */
  folders: number;
  /** Number of changed files and folders that wait to be indexed. Absent where it is not known. */
  pending?: number;
  /** True while changes are being indexed. */
  busy: boolean;
  /** Why the tree is polled, or why the last changes could not be indexed. Absent where there is no problem. */
  problem?: string;
}

/**
 * A client of one project's daemon, or of the user's daemon without a project. Made by {@link connect}.
 *
 * Reconnects by itself, and starts the daemon again where that is needed. All clients of a process share one connection per daemon.
 *
 * A call whose daemon crashes is repeated on a new one. Before the n-th start after crashes there is a pause of the n-th of
 * `daemon.retry_delays_ms` (default 100, 500, 1000, 2000; the last one repeats), and after more than `daemon.max_retries` (default 4) crashes
 * without an answer between them the call rejects with `DAEMON_START_FAILED` or `DAEMON_LOST`. A call that was in flight at two crashes and
 * got no further rejects with `POISONED`. Both settings are in `.offheap/config.json`.
 */
export interface Client extends AsyncDisposable {
  /** The project's root directory, links resolved. Null for a client without a project. */
  readonly project: string | null;
  /**
   * Adds a listener that is called once for each kind of fallback this client meets, also for one that `connect` met. Without a listener,
   * Node prints a warning.
   *
   * @throws {OffheapError} `INVALID_ARGUMENT`
   * @example
   * client.on('fallback', ({ kind, message }) => console.error(`offheap: ${kind}: ${message}`));
   */
  on(event: 'fallback', listener: (fallback: { kind: Fallback; message: string }) => void): this;
  /**
   * Computes the vector of one text.
   *
   * @throws {OffheapError} any {@link CallErrorCode}, {@link StartErrorCode} or {@link ModelErrorCode}, and `TOO_LARGE` for a text of more
   * than 64 MiB.
   * @example
   * const { vector, truncated } = await client.embed('How do I open a socket?', { kind: 'query' });
   * console.log(vector.length, truncated);
   */
  embed(text: string, options?: EmbedOptions): Promise<Embedding>;
  /**
   * Computes the vectors of many texts. A batch of more than 16 texts is bulk work, which other calls overtake.
   *
   * @throws {OffheapError} any {@link CallErrorCode}, {@link StartErrorCode} or {@link ModelErrorCode}, and `TOO_LARGE` for a text of more
   * than 64 MiB.
   * @example
   * const vectors = await client.embedBatch(['open a file', 'close it'], { signal: AbortSignal.timeout(60_000) });
   * for (const row of vectors) console.log(row.subarray(0, 4));
   */
  embedBatch(texts: string[], options?: EmbedOptions): Promise<Vectors>;
  /**
   * Brings the project's index up to date. Creates `.offheap` where there is none. Continues where an earlier run was stopped.
   *
   * @throws {OffheapError} any {@link CallErrorCode}, {@link StartErrorCode} or {@link ModelErrorCode}, and `NO_PROJECT`, `INDEX_BUSY`,
   * `INDEX_LOCKED`, `INDEX_FORMAT`, `NEEDS_FORCE`. Nothing is thrown by the call itself: the run rejects.
   * @example
   * const report = await client.index({ onProgress: ({ phase, done, total }) => console.log(phase, done, total) });
   * console.log(`${report.files} files, ${report.chunks} chunks in ${report.totalMs} ms`);
   */
  index(options?: IndexOptions): IndexRun;
  /**
   * Finds code: ranked chunks, lines or definitions, depending on `mode`. The query has at most 64 KiB.
   *
   * @throws {OffheapError} any {@link CallErrorCode} or {@link StartErrorCode}, and `NO_PROJECT`, `NO_INDEX`, `INDEX_DAMAGED`, `INDEX_FORMAT`,
   * `INDEX_FOREIGN`, `TOO_LARGE`; with mode `'semantic'` also any {@link ModelErrorCode}. `'regex'` needs no index.
   * @example
   * const { hits, degraded } = await client.search('retry after a lost connection', { globs: ['src/**'], fresh: { waitMs: 500 } });
   * if (degraded !== undefined) console.error(degraded);
   * for (const { path, startLine, score } of hits) console.log(`${path}:${startLine}`, score.toFixed(3));
   */
  search(query: string, options?: SearchOptions): Promise<SearchResult>;
  /**
   * What the daemon holds and does. Null where none runs: this never starts a daemon.
   *
   * @throws {OffheapError} any {@link CallErrorCode}.
   * @example
   * const status = await client.status();
   * if (status !== null) console.log(`pid ${status.pid}, ${status.index?.chunks ?? 0} chunks`);
   */
  status(options?: CallOptions): Promise<Status | null>;
  /**
   * Drops the model and the open index from the daemon's memory; the next call that needs them loads them again. With `stored` (default
   * false) also deletes the cache of vectors that index runs reuse for equal text; `embeddings` is the number of these. The index stays.
   *
   * @throws {OffheapError} any {@link CallErrorCode} or {@link StartErrorCode}, and `INDEX_BUSY`; with `stored` also `INDEX_LOCKED`,
   * `INDEX_DAMAGED`, `INDEX_FORMAT`, `INDEX_FOREIGN`.
   * @example
   * const { embeddings } = await client.clearCache({ stored: true });
   * console.log(`${embeddings} stored vectors deleted`);
   */
  clearCache(options?: CallOptions & { stored?: boolean }): Promise<{ embeddings: number }>;
  /**
   * Milliseconds for a message to the daemon and back. Starts the daemon if none runs.
   *
   * @throws {OffheapError} any {@link CallErrorCode} or {@link StartErrorCode}.
   * @example
   * console.log(`${(await client.ping()).toFixed(2)} ms`);
   */
  ping(options?: CallOptions): Promise<number>;
  /**
   * Asks the daemon to finish what it does and leave. Returns false where none runs. Another client's next call starts a new daemon.
   *
   * @throws {OffheapError} any {@link CallErrorCode}.
   * @example
   * const didRun = await client.shutdown();
   * console.log(didRun ? 'asked to leave' : 'none was running');
   */
  shutdown(options?: CallOptions): Promise<boolean>;
  /**
   * Closes the client: later calls reject with `CLOSED`, calls in flight are answered. The daemon goes on. Never rejects.
   *
   * @example
   * await client.close();
   */
  close(): Promise<void>;
}

/** Every code that an {@link OffheapError} can have. {@link ERROR_CODES} has the meaning of each. */
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
  | 'NEEDS_FORCE'
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

/**
 * Every failure of this package.
 *
 * @example
 * try {
 *   await client.search('parse a header');
 * } catch (error) {
 *   if (error instanceof OffheapError && error.code === 'NO_INDEX') await client.index();
 *   else throw error;
 * }
 */
export class OffheapError extends Error {
  /** The class's name. */
  readonly name: 'OffheapError';
  /** What went wrong. Stable across versions: compare this, not the message. */
  readonly code: ErrorCode;
  /** What to do about it. May be empty. */
  readonly hint: string;
}

/**
 * The meaning of each code, one sentence each.
 *
 * @example
 * console.log(ERROR_CODES.NO_INDEX);
 */
export const ERROR_CODES: Readonly<Record<ErrorCode, string>>;
