//! How far long work is: a bar for a terminal, a line now and then for a log.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::grpc::proto::leasehold::admin::v1::Progress;

use super::text;

/// How often a line is written where there is no terminal.
const LINES: Duration = Duration::from_secs(10);
const BAR: &str = "{msg} [{wide_bar}] {percent}%, {eta} left";

/// Shows on standard error how far something is, so that the output stays what it is about.
pub(super) enum Meter {
    Bar(ProgressBar),
    Lines {
        /// When the next one is due.
        due: Instant,
    },
}

impl Meter {
    pub fn new() -> Meter {
        if !std::io::stderr().is_terminal() {
            return Meter::Lines { due: Instant::now() + LINES };
        }
        let bar = ProgressBar::new(0);
        // A mistake in the template leaves the bar that there is without one; a test finds it.
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style);
        }
        Meter::Bar(bar)
    }

    pub fn show(&mut self, progress: &Progress) {
        match self {
            Meter::Bar(bar) => {
                bar.set_length(progress.all_bytes);
                bar.set_position(progress.bytes);
                bar.set_message(line(progress));
            }
            Meter::Lines { due } if *due <= Instant::now() => {
                eprintln!("{}", line(progress));
                *due = Instant::now() + LINES;
            }
            Meter::Lines { .. } => {}
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Meter::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn line(progress: &Progress) -> String {
    let Progress { blobs, all_blobs, bytes, all_bytes } = progress;
    format!("{blobs} of {all_blobs} blobs, {} of {}", text::size(*bytes), text::size(*all_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_sound() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
        let progress = Progress { blobs: 1, all_blobs: 2, bytes: 3 << 20, all_bytes: 4 << 30 };
        assert_eq!(line(&progress), "1 of 2 blobs, 3.0 MiB of 4.0 GiB");
    }
}
