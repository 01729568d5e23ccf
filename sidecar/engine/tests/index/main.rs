//! The index as its user sees it.

#![allow(clippy::print_stdout)] // seeds and figures of a run

mod change;
mod maintain;
mod names;
mod store;
mod words;
