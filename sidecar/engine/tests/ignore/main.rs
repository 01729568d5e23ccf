//! The walk finds what git lists: `git ls-files -co --exclude-standard` is asked about every tree that is made here.

mod cases;
mod generated;
mod oracle;
mod repositories;
