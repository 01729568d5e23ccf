//! Preambles, frame headers and messages as bytes. No sockets; the only file that uses bincode.
//!
//! A length is checked against its limit before anything is allocated for it.

use serde::{Serialize, de::DeserializeOwned};

/// Length of an encoded [`Header`], bytes.
pub const HEADER_BYTES: usize = 24;
/// Largest control part, bytes: 4 MiB.
pub const MAX_CONTROL: u32 = 4 << 20;
/// Largest body, bytes: 64 MiB.
pub const MAX_BODY: u32 = 64 << 20;
/// Largest body that the client makes for one `Embed` request, bytes: 8 MiB. It splits longer lists of texts.
pub const MAX_TEXTS_BODY: usize = 8 << 20;

/// The first four bytes of a frame, "OFHP", as a number.
const MAGIC: u32 = u32::from_le_bytes(*b"OFHP");

/// The first 32 bytes that each side sends. Their layout never changes in later protocol versions.
///
/// | bytes | what |
/// |---|---|
/// | 0..8 | `OFFHEAP` and a zero |
/// | 8 | preamble version, 1 |
/// | 9 | purpose of the connection, see [`Purpose`] |
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
    /// From the client, what the connection is for; from the daemon, what it agrees to.
    pub purpose: Purpose,
    /// The build: the package version in ASCII, padded with zeros.
    pub build: [u8; 16],
}

/// What a connection is for. Part of the preamble, so that a daemon can be replaced by a release that shares no protocol with
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Frames follow.
    Talk = 0,
    /// A newer client asks the daemon to finish and exit, so that it can start its own. The daemon answers with `HandOver` if
    /// it agrees, and the end of the connection is then the end of the daemon; with `Talk` if it refuses.
    HandOver = 1,
}

impl Preamble {
    /// Length of an encoded preamble.
    pub const BYTES: usize = 32;
    const MAGIC: &[u8; 8] = b"OFFHEAP\0";

    /// The preamble of this build, with purpose [`Purpose::Talk`].
    pub fn ours() -> Self {
        let mut build = [0; 16];
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        let n = version.len().min(16);
        build[..n].copy_from_slice(&version[..n]);
        let (proto_min, proto_max) = (crate::message::PROTO_MIN, crate::message::PROTO_MAX);
        Preamble { proto_min, proto_max, purpose: Purpose::Talk, build }
    }

    /// The preamble as bytes.
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

    /// A preamble from bytes; `None` where they do not begin with `OFFHEAP` and a zero. An unknown purpose is [`Purpose::Talk`].
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

    /// The newest protocol version that both sides speak; `None` where there is none.
    pub fn common(&self, other: &Preamble) -> Option<u16> {
        let newest = self.proto_max.min(other.proto_max);
        (newest >= self.proto_min.max(other.proto_min)).then_some(newest)
    }

    /// Whether this build replaces `other` as the daemon of an endpoint: its newest protocol is newer, or is the same and the
    /// package version is newer. At most one of two builds is newer, so builds that are used in turns do not replace
    /// each other again and again.
    pub fn is_newer_than(&self, other: &Preamble) -> bool {
        (self.proto_max, self.version()) > (other.proto_max, other.version())
    }

    /// The package version; `None`, which sorts below every version, where the build id is not a version.
    fn version(&self) -> Option<semver::Version> {
        semver::Version::parse(self.build_name()).ok()
    }

    /// The build id as text; empty where it is not UTF-8.
    pub fn build_name(&self) -> &str {
        let end = self.build.iter().position(|byte| *byte == 0).unwrap_or(self.build.len());
        std::str::from_utf8(&self.build[..end]).unwrap_or_default()
    }
}

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Client to daemon: an [`Envelope`], with the texts of an `Embed` request as its body.
    Request = 1,
    /// Daemon to client: a [`crate::Response`], the final answer, with the rows of vectors as its body.
    Response = 2,
    /// Daemon to client: a [`crate::Fault`], the final answer.
    Fault = 3,
    /// Daemon to client: a [`crate::Progress`]; the final answer follows later.
    Progress = 4,
    /// Client to daemon: stop working on the request with this id. No control part.
    Cancel = 5,
    /// Daemon to client: the daemon is leaving and takes no further requests. Id 0, no control part.
    GoingAway = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Kind::Request, Kind::Response, Kind::Fault, Kind::Progress, Kind::Cancel, Kind::GoingAway]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// The beginning of a frame. The control part follows it, then the body.
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
    /// The kind of the frame.
    pub kind: Kind,
    /// The request that the frame belongs to. The client chooses ids and uses each once per connection.
    pub id: u64,
    /// Length of the control part, bytes; at most [`MAX_CONTROL`].
    pub control: u32,
    /// Length of the body, bytes; at most [`MAX_BODY`].
    pub body: u32,
}

impl Header {
    /// The header as bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4] = self.kind as u8;
        out[8..16].copy_from_slice(&self.id.to_le_bytes());
        out[16..20].copy_from_slice(&self.control.to_le_bytes());
        out[20..24].copy_from_slice(&self.body.to_le_bytes());
        out
    }

    /// A header from bytes.
    ///
    /// Errors: [`Error::Magic`], [`Error::Kind`], [`Error::FrameTooLarge`].
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

/// Why bytes are not a frame or a message, or why a message cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer does not speak this protocol.
    #[error("the frame does not begin with OFHP")]
    Magic,
    /// The frame's kind is none of [`Kind`].
    #[error("frame kind {0} is unknown")]
    Kind(u8),
    /// The control part is longer than [`MAX_CONTROL`] or the body longer than [`MAX_BODY`].
    #[error("a frame with a control part of {control} bytes and a body of {body} bytes is over the limits")]
    FrameTooLarge {
        /// Length of the control part, bytes.
        control: u32,
        /// Length of the body, bytes.
        body: u32,
    },
    /// The control part is not a message.
    #[error("the control part is malformed")]
    Decode(#[source] bincode::error::DecodeError),
    /// The control part is longer than its message by this many bytes.
    #[error("the control part has {0} bytes behind its message")]
    Trailing(usize),
    /// The message cannot be encoded.
    #[error("the message cannot be encoded")]
    Encode(#[source] bincode::error::EncodeError),
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<{ MAX_CONTROL as usize }>()
}

/// A message as a control part.
///
/// Errors: [`Error::FrameTooLarge`], [`Error::Encode`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Error> {
    let control = bincode::serde::encode_to_vec(message, config()).map_err(Error::Encode)?;
    // bincode applies its limit to decoding only, and the peer would refuse a longer control part.
    match u32::try_from(control.len()) {
        Ok(len) if len <= MAX_CONTROL => Ok(control),
        len => Err(Error::FrameTooLarge { control: len.unwrap_or(u32::MAX), body: 0 }),
    }
}

/// A message from a control part.
///
/// Errors: [`Error::Decode`]; [`Error::Trailing`] where bytes are left over.
pub fn decode<T: DeserializeOwned>(control: &[u8]) -> Result<T, Error> {
    let (message, used) = bincode::serde::decode_from_slice(control, config()).map_err(Error::Decode)?;
    match control.len() - used {
        0 => Ok(message),
        left => Err(Error::Trailing(left)),
    }
}

/// The control part of a request. It carries the deadline, so that the daemon drops work that no caller waits for.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Envelope {
    /// How long the caller waits from now, milliseconds; 0 is for ever.
    pub deadline_ms: u32,
    /// The request.
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
