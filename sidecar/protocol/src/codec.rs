//! Frames and messages as bytes. No sockets; the only file that knows bincode.
//!
//! Nothing is allocated for a length before that length was checked against its limit.

use serde::{Serialize, de::DeserializeOwned};

/// Bytes of a [`Header`].
pub const HEADER_BYTES: usize = 24;
/// Largest control part.
pub const MAX_CONTROL: u32 = 4 << 20;
/// Largest body.
pub const MAX_BODY: u32 = 64 << 20;
/// Largest body of one request's texts that the client sends in one frame; larger ones are split.
pub const MAX_TEXTS_BODY: usize = 8 << 20;

/// "OFHP" in the byte order of the wire.
const MAGIC: u32 = u32::from_le_bytes(*b"OFHP");

/// First bytes in both directions. These 32 bytes never change, whatever becomes of the rest.
///
/// | bytes | what |
/// |---|---|
/// | 0..8 | `OFFHEAP` and a zero |
/// | 8 | preamble version, 1 |
/// | 9 | what this connection is for, see [`Purpose`] |
/// | 10..12 | oldest protocol spoken, u16 LE |
/// | 12..14 | newest protocol spoken, u16 LE |
/// | 14..16 | zero |
/// | 16..32 | build id |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// Oldest protocol version spoken.
    pub proto_min: u16,
    /// Newest protocol version spoken.
    pub proto_max: u16,
    /// What the connection is for; in an answer, whether that is granted.
    pub purpose: Purpose,
    /// Which build this is: the package version, zero-padded.
    pub build: [u8; 16],
}

/// What a connection is for. Part of the bytes that never change: two releases that share no protocol can still hand
/// over to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Frames follow.
    Talk = 0,
    /// A newer client asks the daemon to finish and leave, so that it can start its own. The daemon answers with the
    /// same when it does, and the end of the connection is its end; with `Talk` when it refuses.
    HandOver = 1,
}

impl Preamble {
    /// Bytes of a preamble.
    pub const BYTES: usize = 32;
    const MAGIC: &[u8; 8] = b"OFFHEAP\0";

    /// This build's.
    pub fn ours() -> Self {
        let mut build = [0; 16];
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        let n = version.len().min(16);
        build[..n].copy_from_slice(&version[..n]);
        let (proto_min, proto_max) = (crate::message::PROTO_MIN, crate::message::PROTO_MAX);
        Preamble { proto_min, proto_max, purpose: Purpose::Talk, build }
    }

    /// The bytes.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(Self::MAGIC);
        out[8] = 1;
        out[9] = self.purpose as u8;
        out[10..12].copy_from_slice(&self.proto_min.to_le_bytes());
        out[12..14].copy_from_slice(&self.proto_max.to_le_bytes());
        out[16..].copy_from_slice(&self.build);
        out
    }

    /// `None` where the peer is something else.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        if bytes[..8] != *Self::MAGIC {
            return None;
        }
        Some(Preamble {
            proto_min: u16::from_le_bytes([bytes[10], bytes[11]]),
            proto_max: u16::from_le_bytes([bytes[12], bytes[13]]),
            purpose: if bytes[9] == Purpose::HandOver as u8 { Purpose::HandOver } else { Purpose::Talk },
            build: bytes[16..].try_into().expect("sixteen bytes"),
        })
    }

    /// The newest version that both speak.
    pub fn common(&self, other: &Preamble) -> Option<u16> {
        let newest = self.proto_max.min(other.proto_max);
        (newest >= self.proto_min.max(other.proto_min)).then_some(newest)
    }

    /// Whether this build replaces `other` as owner of an endpoint: strictly newer, so that of any two builds at most one
    /// ever asks the other to leave, and versions that alternate cannot push each other out in turns.
    pub fn is_newer_than(&self, other: &Preamble) -> bool {
        (self.proto_max, self.version()) > (other.proto_max, other.version())
    }

    /// `None` sorts below every version: a build that does not say its version is replaced by one that does.
    fn version(&self) -> Option<semver::Version> {
        semver::Version::parse(self.build_name()).ok()
    }

    /// The build id as text.
    pub fn build_name(&self) -> &str {
        let end = self.build.iter().position(|byte| *byte == 0).unwrap_or(self.build.len());
        std::str::from_utf8(&self.build[..end]).unwrap_or_default()
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Client to daemon: a [`crate::Request`] with its deadline.
    Request = 1,
    /// Daemon to client: the final [`crate::Response`].
    Response = 2,
    /// Daemon to client: the final [`crate::Fault`].
    Fault = 3,
    /// Daemon to client: a [`crate::Progress`]; more will come.
    Progress = 4,
    /// Client to daemon: stop working on this id. No control part.
    Cancel = 5,
    /// Daemon to client: no further requests, this one is leaving. Id 0, no control part.
    GoingAway = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Kind::Request, Kind::Response, Kind::Fault, Kind::Progress, Kind::Cancel, Kind::GoingAway]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// The fixed part of a frame.
///
/// | bytes | what |
/// |---|---|
/// | 0..4 | `OFHP` |
/// | 4 | kind |
/// | 5 | flags, zero |
/// | 6..8 | reserved, zero |
/// | 8..16 | request id, u64 LE |
/// | 16..20 | bytes of the control part, u32 LE |
/// | 20..24 | bytes of the body, u32 LE |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// Which request it belongs to.
    pub id: u64,
    /// Bytes of the control part.
    pub control: u32,
    /// Bytes of the body behind it.
    pub body: u32,
}

impl Header {
    /// The bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4] = self.kind as u8;
        out[8..16].copy_from_slice(&self.id.to_le_bytes());
        out[16..20].copy_from_slice(&self.control.to_le_bytes());
        out[20..24].copy_from_slice(&self.body.to_le_bytes());
        out
    }

    /// Refuses what is not a frame of ours or is larger than the limits.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Error> {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        if u32_at(0) != MAGIC {
            return Err(Error::Magic);
        }
        let kind = Kind::from_byte(bytes[4]).ok_or(Error::Kind(bytes[4]))?;
        let id = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
        let (control, body) = (u32_at(16), u32_at(20));
        if control > MAX_CONTROL || body > MAX_BODY {
            return Err(Error::FrameTooLarge { control, body });
        }
        Ok(Header { kind, id, control, body })
    }
}

/// Why bytes are no frame or no message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else is talking.
    #[error("the frame does not begin with OFHP")]
    Magic,
    /// A newer peer, or garbage.
    #[error("frame kind {0} is unknown")]
    Kind(u8),
    /// Larger than any frame of ours.
    #[error("a frame of {control} + {body} bytes is over the limits")]
    FrameTooLarge {
        /// Announced control bytes.
        control: u32,
        /// Announced body bytes.
        body: u32,
    },
    /// The control part does not decode.
    #[error("the control part is malformed")]
    Decode(#[source] bincode::error::DecodeError),
    /// The control part decodes, and something is left over.
    #[error("{0} bytes are left over behind the control part")]
    Trailing(usize),
    /// A message that is too large to send.
    #[error("the message cannot be encoded")]
    Encode(#[source] bincode::error::EncodeError),
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<{ MAX_CONTROL as usize }>()
}

/// A message as a control part.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Error> {
    let control = bincode::serde::encode_to_vec(message, config()).map_err(Error::Encode)?;
    // bincode's limit holds for decoding only; what the peer would refuse must not be sent.
    match u32::try_from(control.len()) {
        Ok(len) if len <= MAX_CONTROL => Ok(control),
        len => Err(Error::FrameTooLarge { control: len.unwrap_or(u32::MAX), body: 0 }),
    }
}

/// A control part as a message; every byte must be used.
pub fn decode<T: DeserializeOwned>(control: &[u8]) -> Result<T, Error> {
    let (message, used) = bincode::serde::decode_from_slice(control, config()).map_err(Error::Decode)?;
    match control.len() - used {
        0 => Ok(message),
        left => Err(Error::Trailing(left)),
    }
}

/// A request on the wire: the deadline travels with it, so that the daemon drops what nobody waits for.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Envelope {
    /// Milliseconds the caller waits from now; 0 is forever.
    pub deadline_ms: u32,
    /// What is asked.
    pub request: crate::Request,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_trip_and_garbage_does_not() {
        let header = Header { kind: Kind::Progress, id: u64::MAX - 1, control: 7, body: MAX_BODY };
        assert_eq!(Header::decode(&header.encode()).expect("our own"), header);
        let with = |at: usize, byte: u8| {
            let mut bytes = header.encode();
            bytes[at] = byte;
            Header::decode(&bytes)
        };
        assert!(matches!(with(0, b'X'), Err(Error::Magic)));
        assert!(matches!(with(4, 0), Err(Error::Kind(0))));
        assert!(matches!(with(19, 0xff), Err(Error::FrameTooLarge { .. })));
        assert!(matches!(with(23, 0xff), Err(Error::FrameTooLarge { .. })));
    }

    #[test]
    fn preambles_agree_on_the_newest_common_version() {
        let speaks = |proto_min, proto_max| Preamble { proto_min, proto_max, purpose: Purpose::Talk, build: [0; 16] };
        assert_eq!(speaks(1, 3).common(&speaks(2, 5)), Some(3));
        assert_eq!(speaks(1, 1).common(&speaks(2, 5)), None);
        let ours = Preamble::ours();
        assert_eq!(Preamble::decode(&ours.encode()), Some(ours));
        assert_eq!(Preamble::decode(&[b'G'; 32]), None);
    }

    #[test]
    fn of_two_builds_at_most_one_replaces_the_other() {
        let build = |proto_max, version: &str| {
            let mut build = [0; 16];
            build[..version.len()].copy_from_slice(version.as_bytes());
            Preamble { proto_min: 1, proto_max, purpose: Purpose::Talk, build }
        };
        let rising = [
            build(1, "not a version"),
            build(1, "0.1.0-beta.2"),
            build(1, "0.1.0-beta.10"),
            build(1, "0.1.0"),
            build(1, "0.2.0"),
            build(1, "0.10.0"),
            build(2, "0.1.0"),
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(a.is_newer_than(b), i > j, "{} and {}", a.build_name(), b.build_name());
            }
        }
    }

    #[test]
    fn a_length_bomb_in_the_control_part_allocates_nothing() {
        // `Search` with a query that claims 2^62 bytes.
        let mut control = vec![0, 4, 253];
        control.extend_from_slice(&(1u64 << 62).to_le_bytes());
        assert!(decode::<Envelope>(&control).is_err());
        let good = encode(&Envelope { deadline_ms: 5, request: crate::Request::Ping }).expect("small");
        assert!(matches!(decode::<Envelope>(&[good, vec![0]].concat()), Err(Error::Trailing(1))));
    }
}
