//! Results go to standard output, everything else to standard error; here is how both are written.
use serde::Serialize;
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
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

/// The exit code of an interrupted command, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// The user did not want to hear more.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// A process that worked for this one failed, and has said why.
#[derive(Debug)]
pub struct Told(pub u8);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

impl std::error::Error for Told {}

/// Writes to standard output and flushes, so that streamed text is seen as it comes.
pub fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ClosedPipe.into()),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write to standard output")),
    }
}

/// Writes a line to standard error; one that cannot be written there is lost, and nothing else is.
pub fn note(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Most bytes of a file that a person writes.
const WRITTEN_MOST: u64 = 64 << 20;

/// Reads a file that a person writes, and no endless one.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(WRITTEN_MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > WRITTEN_MOST {
        return Err(io::Error::other(format!("it has more than {}", bytes(WRITTEN_MOST))));
    }
    Ok(text)
}

/// Writes a value to standard output as one line of JSON.
pub fn write_json(value: &impl Serialize) -> anyhow::Result<()> {
    write(&(serde_json::to_string(value)? + "\n"))
}

/// Writes rows as [`table`] lays them out.
pub fn write_table(headings: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    write(&table(headings, rows))
}

/// Rows in columns as wide as their widest cell; columns whose heading begins with a space align right.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let shown = |cell: &String| plain(cell).replace('\n', "\\n");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let width = |c: usize| {
        let cells = rows.iter().map(|row| row[c].chars().count());
        cells.chain([headings[c].trim_start().chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    let heading: Vec<String> = headings.iter().map(|h| h.trim_start().to_string()).collect();
    for row in [&heading].into_iter().chain(&rows) {
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
    text
}

/// Bytes as people read them: `98.36 MB`.
pub fn bytes(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

/// Text that may come from a file, as a terminal can show it: what would steer the terminal is escaped, but
/// for line breaks.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing direction can be turned as well, so that one name looks like another.
        let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match (c.is_control() && c != '\n') || turns {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// What went wrong, and why, as one text.
pub fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some libraries have the cause in their own words already.
        if !text.ends_with(&cause) {
            text += &format!(": {cause}");
        }
    }
    plain(&text)
}

/// Says on standard error what went wrong, once, with its causes; 0 is done, 1 is refused, 130 interrupted.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if error.is::<ClosedPipe>() {
        return ExitCode::SUCCESS;
    }
    let mut err = io::stderr().lock();
    // Nobody listens if this cannot be written, and the exit code still tells.
    if error.is::<Interrupted>() {
        let _ = writeln!(err, "{error}");
        return ExitCode::from(INTERRUPTED);
    }
    if let Some(Told(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    let colour = err.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let label = if colour { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    let _ = writeln!(err, "{label} {}", explain(&error));
    ExitCode::FAILURE
}

/// More devices than these are not listed one by one.
const DEVICES_LISTED: usize = 4;

/// Devices with their threads, or of many how many there are.
pub(crate) fn devices(devices: &[ir::plan::Device]) -> String {
    let one = |d: &ir::plan::Device| match d.kind.is_cpu() {
        true => format!("{} with {} threads", plain(&d.name), d.threads),
        false => plain(&d.name),
    };
    match devices {
        [first, .., last] if devices.len() > DEVICES_LISTED => {
            format!("{} devices, {} to {}", devices.len(), plain(&first.name), plain(&last.name))
        }
        _ => devices.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once_and_cannot_steer_the_terminal() {
        let cause = anyhow::anyhow!("no \x1b[31mred\x1b[0m").context("b: no \x1b[31mred\x1b[0m");
        assert_eq!(explain(&cause.context("a")), "a: b: no \\u{1b}[31mred\\u{1b}[0m");
        assert_eq!(plain("é\u{202e}\n"), "é\\u{202e}\n");
    }
}
