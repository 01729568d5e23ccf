//! Files of a project, reached without following a link.
//!
//! A repository is written by strangers. What it holds may be a link to the user's keys, a device that never ends, or a
//! folder that is exchanged for a link between two system calls. So nothing below a project's root is opened, made,
//! listed or removed by its path: a directory is held open, and a name in it is resolved relative to that handle, one
//! component at a time, never through a link.
//!
//! [`Tree`] reads the project's own files, of any owner. [`Folder`] is a directory of the index, which must be a
//! real directory of this user; only it can write and remove, and it removes single files, never a tree.

mod file_system;
mod folder;
mod outside;
pub(crate) mod pins;
mod stat;
mod tree;

pub use folder::{Folder, Identity};
pub use outside::read_outside;
pub use stat::Stat;
pub use tree::{Entry, Kind, Listing, Tree, is_below, is_link};
