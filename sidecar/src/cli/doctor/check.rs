//! Outcomes of checks.

use offheap_protocol::Fault;

use crate::cli::output::json::{Check, CheckState};

/// A check that found nothing wrong.
pub fn ok(check: &'static str, detail: impl Into<String>) -> Check {
    Check { check, state: CheckState::Ok, detail: detail.into(), remedy: String::new() }
}

/// A check whose subject works, but worse than it could or not for long.
pub fn warning(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { check, state: CheckState::Warning, detail: detail.into(), remedy: remedy.into() }
}

/// A check that found what does not work.
pub fn problem(check: &'static str, fault: &Fault) -> Check {
    let detail = format!("{} [{}]", fault.message, fault.code);
    Check { check, state: CheckState::Problem, detail, remedy: fault.hint.clone() }
}
