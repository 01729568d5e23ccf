//! What to do after a failure: go on at once, go on after a pause, or give up.
//!
//! A pure function of the error, of what happened before and of the configuration: no clock, no socket, no daemon. The Node
//! client has the same function in `lib/retry.js`; `__test__/retry-cases.json` is the table of cases that both are tested with.

use std::cmp::Ordering;

use offheap_protocol::Code;
use offheap_protocol::message::Progress;

use crate::config::DaemonConfig;

/// How often in a row one call may find the daemon shutting down before it gives up.
pub const MAX_RACES: u32 = 100;
/// This many races in a row are repeated at once. From the next one on, the n-th race is followed by a pause of n milliseconds.
pub const RACES_WITHOUT_PAUSE: u32 = 3;
/// The longest pause after a race, milliseconds.
pub const LONGEST_RACE_PAUSE_MS: u32 = 20;
/// A call that was in flight at this many crashes, and got no further between them, is the cause of the crashes.
pub const POISON_CRASHES: u32 = 2;
/// Callers vary each pause by up to this share of it, because clients that lost the same daemon must not come back at once.
pub const PAUSE_SPREAD: f64 = 0.25;

/// What went wrong.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// The error's code.
    pub code: Code,
    /// What the client was doing.
    pub during: During,
    /// The daemon ended without saying that it leaves ([`During::Call`]), or before it was ready ([`During::Start`]).
    pub crashed: bool,
}

/// What a client was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum During {
    /// Connecting: no request was sent yet.
    Connect,
    /// Starting a daemon.
    Start,
    /// Waiting for the answer to a request.
    Call,
}

/// What happened before, and with the failure.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Crashes of the endpoint's daemons that this process saw since the last answer, this one included.
    pub crashes: u32,
    /// Crashes that this call saw, this one included; while connecting, crashes that this attempt to connect saw.
    pub call_crashes: u32,
    /// The call got further since the crash before this one. Only an index run can.
    pub progressed: bool,
    /// How often in a row the call found the daemon shutting down before this time.
    pub races: u32,
    /// A daemon may be started.
    pub may_start: bool,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Go on at once: start a daemon where none could be reached, else connect and ask again.
    Retry,
    /// Go on after this many milliseconds.
    Pause(u32),
    /// Run a daemon for this process alone: sockets are refused here.
    StartPrivate,
    /// End the call with this code.
    GiveUp(Code),
}

/// Decides what follows a failure.
pub fn next_step(failure: Failure, history: History, config: &DaemonConfig) -> Step {
    match failure.during {
        During::Call => after_call(failure, history, config),
        During::Start => after_start(failure, history, config),
        During::Connect => after_connect(failure.code, history, config),
    }
}

/// Whether an index run got further between two crashes. `before` and `now` are its last progress at each.
///
/// A run after a crash continues from the last commit and counts only what is left, so a later phase is progress, and within
/// one phase less that is left.
pub fn has_progressed(before: Option<&Progress>, now: Option<&Progress>) -> bool {
    let (Some(before), Some(now)) = (before, now) else { return now.is_some() };
    let left = |progress: &Progress| i128::from(progress.total) - i128::from(progress.done);
    match (now.phase as u32).cmp(&(before.phase as u32)) {
        Ordering::Equal => left(now) < left(before),
        order => order == Ordering::Greater,
    }
}

/// A request was sent and not answered.
fn after_call(failure: Failure, history: History, config: &DaemonConfig) -> Step {
    if failure.code == Code::DaemonLost && failure.crashed && history.may_start {
        return match history.call_crashes {
            crashes if crashes > config.max_retries => Step::GiveUp(failure.code),
            crashes if crashes >= POISON_CRASHES && !history.progressed => Step::GiveUp(Code::Poisoned),
            // The pause comes before the next start, which may not be needed.
            _ => Step::Retry,
        };
    }
    match failure.code {
        Code::Leaving | Code::DaemonLost | Code::DaemonNotRunning => after_race(failure.code, history, config),
        code => Step::GiveUp(code),
    }
}

/// A daemon was started and did not become ready.
fn after_start(failure: Failure, history: History, config: &DaemonConfig) -> Step {
    match failure.code {
        Code::SocketsRefused => Step::StartPrivate,
        // Another process may have started one; the failure to connect decides about the pause.
        _ if failure.crashed && crash_count(history) <= config.max_retries => Step::Retry,
        code => Step::GiveUp(code),
    }
}

/// No daemon could be reached.
fn after_connect(code: Code, history: History, config: &DaemonConfig) -> Step {
    match code {
        Code::Leaving => return after_race(code, history, config),
        // A daemon can listen on loopback TCP where local sockets are refused; if TCP is refused too, starting it fails with
        // this code.
        Code::DaemonNotRunning | Code::SocketsRefused if history.may_start => {}
        _ => return Step::GiveUp(code),
    }
    if history.races >= MAX_RACES {
        return if code == Code::SocketsRefused { Step::StartPrivate } else { Step::GiveUp(code) };
    }
    let crashes = crash_count(history);
    if crashes == 0 {
        return Step::Retry;
    }
    // Without retries, a call that saw no crash itself may still start one daemon.
    let is_first_try = config.max_retries == 0 && history.call_crashes == 0;
    if crashes > config.max_retries && !is_first_try {
        return Step::GiveUp(Code::DaemonLost);
    }
    let delays = &config.retry_delays_ms;
    delays.get(crashes as usize - 1).or(delays.last()).map_or(Step::Retry, |ms| Step::Pause(*ms))
}

/// The daemon was shutting down in order. Nothing is wrong with the call, and any call may be repeated.
fn after_race(code: Code, history: History, config: &DaemonConfig) -> Step {
    if config.max_retries == 0 || history.races >= MAX_RACES {
        return Step::GiveUp(code);
    }
    match history.races + 1 {
        count if count <= RACES_WITHOUT_PAUSE => Step::Retry,
        count => Step::Pause(count.min(LONGEST_RACE_PAUSE_MS)),
    }
}

/// Crashes to count: those of the endpoint, or those that the call saw if these are more.
fn crash_count(history: History) -> u32 {
    history.crashes.max(history.call_crashes)
}

#[cfg(test)]
mod tests {
    use offheap_protocol::message::Phase;
    use serde_json::{Value, json};

    use super::*;

    /// The table that `__test__/retry.test.mjs` holds the Node client's function against.
    fn table() -> Value {
        serde_json::from_str(include_str!("../../../__test__/retry-cases.json")).expect("JSON")
    }

    fn code(name: &Value) -> Code {
        let known = Code::TABLE.iter().find(|(_, code, _)| name == code);
        known.unwrap_or_else(|| panic!("{name} is no code")).0
    }

    fn run(case: &Value) -> Value {
        let number = |value: &Value| u32::try_from(value.as_u64().expect("a number")).expect("small");
        let flag = |value: &Value| value.as_bool().expect("a boolean");
        let (error, history, config) = (&case["error"], &case["history"], &case["config"]);
        let failure = Failure {
            code: code(&error["code"]),
            during: match error["during"].as_str().expect("text") {
                "connect" => During::Connect,
                "start" => During::Start,
                "call" => During::Call,
                other => panic!("{other} is unknown"),
            },
            crashed: flag(&error["crashed"]),
        };
        let history = History {
            crashes: number(&history["crashes"]),
            call_crashes: number(&history["callCrashes"]),
            progressed: flag(&history["progressed"]),
            races: number(&history["races"]),
            may_start: flag(&history["mayStart"]),
        };
        let config: DaemonConfig = serde_json::from_value(config.clone()).expect("keys of the configuration");
        match next_step(failure, history, &config) {
            Step::Retry => json!({ "retry": true }),
            Step::Pause(ms) => json!({ "pauseMs": ms }),
            Step::StartPrivate => json!({ "startPrivate": true }),
            Step::GiveUp(code) => json!({ "giveUp": code.as_str() }),
        }
    }

    #[test]
    fn every_case_of_the_table_ends_as_it_says() {
        let table = table();
        let cases = table["cases"].as_array().expect("a list");
        assert!(cases.len() >= 50, "only {} cases", cases.len());
        let wrong: Vec<String> = cases
            .iter()
            .map(|case| (case, run(case)))
            .filter(|(case, step)| case["step"] != *step)
            .map(|(case, step)| format!("{}: {step}, not {}", case["name"], case["step"]))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn progress_is_what_the_table_says() {
        let progress = |value: &Value| {
            let phase = match value.get("phase")?.as_str()? {
                "scan" => Phase::Scan,
                "text" => Phase::Text,
                "embed" => Phase::Embed,
                other => panic!("{other} is no phase"),
            };
            let number = |name: &str| value[name].as_u64().expect("a number");
            Some(Progress { phase, done: number("done"), total: number("total"), ..Progress::default() })
        };
        let table = table();
        for case in table["progress"].as_array().expect("a list") {
            let progressed = has_progressed(progress(&case["before"]).as_ref(), progress(&case["now"]).as_ref());
            assert_eq!(case["progressed"], progressed, "{}", case["name"]);
        }
    }

    #[test]
    fn constants_and_defaults_are_those_of_the_table() {
        let table = table();
        let mut constants = table["constants"].as_object().expect("an object").clone();
        // One command is one call: it ends before a crash would be forgotten.
        assert!(constants.remove("crashWindowMs").is_some());
        let ours = json!({
            "maxRaces": MAX_RACES,
            "racesWithoutPause": RACES_WITHOUT_PAUSE,
            "longestRacePauseMs": LONGEST_RACE_PAUSE_MS,
            "poisonCrashes": POISON_CRASHES,
            "pauseSpread": PAUSE_SPREAD,
        });
        assert_eq!(Value::Object(constants), ours);
        let defaults = DaemonConfig::default();
        let ours = json!({
            "enabled": defaults.enabled,
            "max_retries": defaults.max_retries,
            "retry_delays_ms": defaults.retry_delays_ms,
        });
        assert_eq!(table["defaults"], ours);
    }
}
