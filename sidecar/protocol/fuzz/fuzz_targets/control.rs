//! The decoder of control parts: no panic, and what decodes is the same after it was encoded and decoded again.
//!
//! The first byte of the input chooses the type. The input may differ from its first encoding, because a number may be
//! written longer than it needs to be; the first encoding and the second may not differ.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offheap_protocol::codec::{self, Envelope};
use offheap_protocol::{Fault, Progress, Response};

fn check<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) {
    let Ok(message) = codec::decode::<T>(bytes) else { return };
    let once = codec::encode(&message).expect("it came from a control part");
    assert!(once.len() <= bytes.len(), "{} bytes became {}", bytes.len(), once.len());
    let again = codec::decode::<T>(&once).expect("our own bytes");
    assert!(codec::encode(&again).expect("as before") == once, "the same message, other bytes");
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, control)) = bytes.split_first() else { return };
    match which % 4 {
        0 => check::<Envelope>(control),
        1 => check::<Response>(control),
        2 => check::<Fault>(control),
        _ => check::<Progress>(control),
    }
});
