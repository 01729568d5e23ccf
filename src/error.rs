//! Client fault to JavaScript error.

use offheap_protocol::Fault;

/// An error whose message is the fault as JSON: `index.js` makes an `OffheapError` with `code`, `message` and `hint`
/// of it. A custom napi status would carry the code, and lose the hint.
pub fn js(fault: Fault) -> napi::Error {
    let Fault { code, message, hint } = fault;
    napi::Error::from_reason(serde_json::json!({ "code": code.as_str(), "message": message, "hint": hint }).to_string())
}
