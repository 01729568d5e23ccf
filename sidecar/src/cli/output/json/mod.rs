//! The documents that `--json` prints: one type for each command, and one for failures.
//!
//! Names and units are those of the Node API (`index.d.ts`): camelCase, milliseconds, optional fields are absent rather than
//! null. `docs/schema/cli.schema.json` is made from these types; `tests/it/schema.rs` holds real output against it.

mod reports;
#[cfg(test)]
mod schema;
mod search;
mod status;
mod values;
mod why;

pub use reports::{
    Check, CheckState, DoctorReport, EmbedReport, ErrorReport, IndexReport, InitReport, PullReport, RestartReport,
    StartReport, StopReport,
};
pub use search::SearchResult;
pub use status::{Status, StatusDocument};
pub use values::path_text;
pub use why::WhyReport;
