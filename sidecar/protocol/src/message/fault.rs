//! Why a request failed: a stable code, a message and a remedy.

use serde::{Deserialize, Serialize};

use super::printable::printable;

/// Why a request failed, and what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind of failure it is; `err.code` in JavaScript.
    pub code: Code,
    /// What happened, for people; [`printable`]. Not stable: programs compare codes.
    pub message: String,
    /// What to do about it, for people; [`printable`], may be empty.
    pub hint: String,
}

impl Fault {
    /// A fault without a hint. The message becomes [`printable`], because it may quote a file of a repository.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Fault { code, message: printable(&message.into()), hint: String::new() }
    }

    /// This fault with a remedy, which becomes [`printable`].
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = printable(&hint.into());
        self
    }
}

/// Defines [`Code`] from one list of variants, names and meanings. The meaning is the variant's documentation and the
/// text of the tables in the READMEs, so that these cannot differ.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Error codes. Names and positions are stable; position is identity on the wire: append only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code with its name and its meaning, in wire order.
            pub const TABLE: &[(Code, &str, &str)] = &[$((Code::$variant, $name, concat!($($doc),+)),)+];

            /// The stable name, as JavaScript and `--json` show it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$variant => $name,)+
                }
            }
        }
    };
}

codes! {
    /// A bug in offheap: this request failed, other requests are not affected.
    Internal = "INTERNAL",
    /// An argument is missing, malformed or out of range.
    InvalidArgument = "INVALID_ARGUMENT",
    /// A text or a request is larger than the limits allow.
    TooLarge = "TOO_LARGE",
    /// The caller cancelled the request.
    Cancelled = "CANCELLED",
    /// The request's deadline passed.
    Timeout = "TIMEOUT",
    /// The daemon is busy beyond its queue limits; try again later.
    Overloaded = "OVERLOADED",
    /// The daemon is shutting down; clients retry this by themselves.
    Leaving = "LEAVING",
    /// The call needs a project and none was given.
    NoProject = "NO_PROJECT",
    /// The project has no index yet.
    NoIndex = "NO_INDEX",
    /// Another index run is in progress in this project.
    IndexBusy = "INDEX_BUSY",
    /// Another process holds the index for writing.
    IndexLocked = "INDEX_LOCKED",
    /// An index file fails its checks.
    IndexDamaged = "INDEX_DAMAGED",
    /// The index was written by an incompatible version.
    IndexFormat = "INDEX_FORMAT",
    /// The model file does not exist.
    ModelNotFound = "MODEL_NOT_FOUND",
    /// The model file breaks its format or fails its checksum.
    ModelDamaged = "MODEL_DAMAGED",
    /// The model's architecture, tokenizer or quantisation is not supported.
    ModelUnsupported = "MODEL_UNSUPPORTED",
    /// The model computed a vector that is not finite or has length 0.
    ModelFailed = "MODEL_FAILED",
    /// The configuration file cannot be used.
    ConfigInvalid = "CONFIG_INVALID",
    /// The disk is full.
    DiskFull = "DISK_FULL",
    /// The operating system refused a file operation.
    Io = "IO",
    /// No daemon answers at the endpoint.
    DaemonNotRunning = "DAEMON_NOT_RUNNING",
    /// The daemon could not be started.
    DaemonStartFailed = "DAEMON_START_FAILED",
    /// The connection broke while the request was in flight.
    DaemonLost = "DAEMON_LOST",
    /// The daemon accepted the connection but does not answer.
    DaemonUnresponsive = "DAEMON_UNRESPONSIVE",
    /// The peer does not speak this protocol, or not this version of it.
    Protocol = "PROTOCOL",
    /// The runtime directory or the peer belongs to another user, or other users can enter the directory.
    Forbidden = "FORBIDDEN",
    /// The sidecar binary is not installed beside the addon.
    SidecarNotFound = "SIDECAR_NOT_FOUND",
    /// The client was closed.
    Closed = "CLOSED",
    /// The daemon is a newer offheap that no longer speaks this one's protocol.
    ClientTooOld = "CLIENT_TOO_OLD",
    /// The daemon is an older offheap that does not speak this one's protocol yet.
    DaemonTooOld = "DAEMON_TOO_OLD",
    /// The system allows neither local sockets nor loopback TCP here, as some sandboxes do.
    SocketsRefused = "SOCKETS_REFUSED",
    /// The daemon crashed twice while it worked on this request; it is not sent again.
    Poisoned = "POISONED",
    /// A file or directory that offheap would use is a link, belongs to another user, or is of the wrong kind.
    UnsafePath = "UNSAFE_PATH",
    /// The index was not made by this user on this machine; the next index run builds it anew.
    IndexForeign = "INDEX_FOREIGN",
    /// The directory is a home directory, a root or a very large tree: it is indexed only with `force`.
    NeedsForce = "NEEDS_FORCE",
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
