//! Exit codes: 0 done, 1 failed, 2 wrong usage, and the ones below.

/// Nothing there: `status` and `stop` without a daemon, `search` without hits.
pub const NOTHING: u8 = 3;
/// Interrupted by Ctrl-C.
pub const INTERRUPTED: u8 = 130;
