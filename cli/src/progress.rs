//! Progress bars for work that takes seconds: on a terminal a bar, elsewhere one line at the start.
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// A bar that counts bytes, of `total` if that is known.
pub(crate) fn bytes(what: &str, total: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        match total {
            Some(total) => note!("{what}: {}", crate::output::bytes(total)),
            None => note!("{what}"),
        }
    }
    // A bar on something other than a terminal draws nothing.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_message(what.to_string());
    set_style(&bar, "{msg} {spinner} {decimal_bytes} {decimal_bytes_per_sec}");
    if let Some(total) = total {
        expect(&bar, total);
    }
    bar
}

/// A bar that counts `total` of something, silent where there is no terminal.
pub(crate) fn count(what: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    bar.set_message(what.to_string());
    set_style(&bar, "{msg} [{bar:30}] {human_pos}/{human_len} {eta}");
    bar
}

/// Tells a bar its total, if it was begun without one.
pub(crate) fn expect(bar: &ProgressBar, total: u64) {
    if bar.length().is_none() {
        bar.set_length(total);
        set_style(
            bar,
            "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
        );
    }
}

fn set_style(bar: &ProgressBar, template: &str) {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
}
