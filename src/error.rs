//! Faults as JavaScript errors.

use offheap_protocol::{Fault, Response};

/// A fault as an error whose message is JSON: `index.js` makes an `OffheapError` with `code`, `message` and `hint` from it. A
/// status of napi could carry the code, but not the hint.
pub fn js(fault: Fault) -> napi::Error {
    let Fault { code, message, hint } = fault;
    napi::Error::from_reason(serde_json::json!({ "code": code.as_str(), "message": message, "hint": hint }).to_string())
}

/// The error for a response that does not fit its request.
pub fn unexpected(response: &Response) -> napi::Error {
    js(response.unexpected())
}
