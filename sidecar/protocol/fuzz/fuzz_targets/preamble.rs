//! The preamble decoder: no panic for any 32 bytes, and what was decoded encodes to the same fields.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offheap_protocol::codec::Preamble;

fuzz_target!(|bytes: [u8; Preamble::BYTES]| {
    let Some(theirs) = Preamble::decode(&bytes) else {
        assert!(bytes[..8] != *b"OFFHEAP\0", "our own name was refused");
        return;
    };
    assert_eq!(Preamble::decode(&theirs.encode()), Some(theirs));
    assert_eq!(theirs.encode()[10..14], bytes[10..14], "versions");
    assert_eq!(theirs.encode()[16..], bytes[16..], "build");
    let ours = Preamble::ours();
    let common = ours.common(&theirs);
    assert_eq!(common, theirs.common(&ours), "both sides come to the same version");
    if let Some(version) = common {
        assert!((ours.proto_min..=ours.proto_max).contains(&version));
        assert!((theirs.proto_min..=theirs.proto_max).contains(&version));
    }
});
