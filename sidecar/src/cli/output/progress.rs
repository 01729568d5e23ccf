//! The progress of an index run, on standard error.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use offheap_protocol::message::{Phase, Progress};

use super::print::{clean, note};

/// Shows the progress of an index run: a bar on a terminal, otherwise one line per phase.
pub struct Bar {
    bar: ProgressBar,
    last: std::cell::Cell<Option<Phase>>,
}

impl Bar {
    pub fn new() -> Self {
        let target =
            if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Bar { bar: ProgressBar::with_draw_target(None, target), last: std::cell::Cell::new(None) }
    }

    pub fn show(&self, progress: &Progress) {
        let (what, unit) = match progress.phase {
            Phase::Scan => ("finding files", ""),
            Phase::Text => ("reading", "files"),
            Phase::Embed => ("embedding", "chunks"),
            Phase::Done => ("done", ""),
        };
        if self.last.replace(Some(progress.phase)) != Some(progress.phase) {
            if self.bar.is_hidden() {
                note(&match progress.total {
                    0 => what.to_owned(),
                    total => format!("{what} {total} {unit}"),
                });
            }
            // The rate of one phase does not apply to the next.
            self.bar.reset();
            self.bar.enable_steady_tick(Duration::from_millis(200));
            let style = if progress.total > 0 {
                format!(
                    "{{prefix:>17}} {{bar:20}} {{pos}}/{{len}} {unit} {{per_sec:.dim}} eta {{eta}} {{wide_msg:.dim}}"
                )
            } else {
                "{prefix:>17} {spinner} {wide_msg:.dim}".to_owned()
            };
            self.bar.set_style(ProgressStyle::with_template(&style).expect("the template is ours"));
            self.bar.set_prefix(what);
        }
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
        self.bar.set_message(clean(&progress.path));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
