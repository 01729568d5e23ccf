//! Exit codes: 0 done, 1 failed, 2 wrong usage, and the ones below.

/// There is nothing: `status` and `stop` found no daemon, `search` found no hits, `why` was asked for a path that is not in
/// the index.
pub const NOTHING: u8 = 3;
/// Interrupted by Ctrl-C.
pub const INTERRUPTED: u8 = 130;
