//! Results go to standard output, everything else to standard error; here is how both are written.
use serde::Serialize;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// Whoever read our output has left: a reason to stop, and none to complain.
#[derive(Debug)]
pub struct ClosedPipe;

impl fmt::Display for ClosedPipe {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for ClosedPipe {}

/// Writes to standard output and flushes, so that streamed text is seen as it comes.
pub fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ClosedPipe.into()),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write to standard output")),
    }
}

/// Writes a value to standard output as one line of JSON.
pub fn write_json(value: &impl Serialize) -> anyhow::Result<()> {
    write(&(serde_json::to_string(value)? + "\n"))
}

/// Writes rows in columns as wide as their widest cell; columns whose heading begins with a space align right.
pub fn write_table(headings: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let width = |c: usize| {
        let cells = rows.iter().map(|row| row[c].chars().count());
        cells.chain([headings[c].trim_start().chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    let heading: Vec<String> = headings.iter().map(|h| h.trim_start().to_string()).collect();
    for row in [&heading].into_iter().chain(rows) {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate() {
            let width = widths[c];
            line += &match headings[c].starts_with(' ') {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:<width$}  "),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    write(&text)
}

/// Bytes as people read them: `98.36 MB`.
pub fn bytes(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

/// Says on standard error what went wrong, once, with its causes; 0 is done, 1 is refused.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if error.is::<ClosedPipe>() {
        return ExitCode::SUCCESS;
    }
    let mut err = io::stderr().lock();
    let colour = err.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let label = if colour { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    let mut text = format!("{label} {error}\n");
    for cause in error.chain().skip(1) {
        text += &format!("  caused by: {cause}\n");
    }
    // Nobody listens if this fails, and the exit code still tells.
    let _ = err.write_all(text.as_bytes());
    ExitCode::FAILURE
}
