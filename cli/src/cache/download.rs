//! Downloads one file: resumed where it broke off, checked, and given its name only when it is whole.
//!
//! `FILE.part` grows while bytes arrive, and `FILE.etag` says which version of the file they belong to.
use super::http::{Client, Fault, header, patiently};
use super::kept::sha256_of;
use crate::{output, progress};
use anyhow::{Context, anyhow};
use indicatif::ProgressBar;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// What is to be downloaded, and what is known of it beforehand.
pub(super) struct Wanted {
    pub url: String,
    pub sha256: Option<String>,
}

/// Downloads into `path`, unless an earlier attempt has done so; returns the bytes and their sha256.
pub(super) fn download(
    client: &Client,
    wanted: &Wanted,
    path: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<(u64, String)> {
    let start = bar.position();
    // A file without a known hash may be of an older version.
    if let Some(expected) = wanted.sha256.as_ref().filter(|_| path.exists()) {
        let (bytes, found) = sha256_of(path)?;
        if found.eq_ignore_ascii_case(expected) {
            bar.set_position(start + bytes);
            return Ok((bytes, found));
        }
    }
    let part = Part::beside(path);
    let whole = patiently(|| attempt(client, wanted, &part, &|bytes| bar.set_position(start + bytes), bar))?;
    fs::rename(&part.file, path).with_context(|| format!("cannot rename {}", part.file.display()))?;
    part.discard()?;
    Ok(whole)
}

/// One request, and what comes of it.
fn attempt(
    client: &Client,
    wanted: &Wanted,
    part: &Part,
    seen: &dyn Fn(u64),
    bar: &ProgressBar,
) -> Result<(u64, String), Fault> {
    let held = part.held();
    let answer = client.get(&wanted.url, held.as_ref().map(|(bytes, _)| *bytes))?;
    let range = header(answer.response.headers(), "content-range").and_then(|text| content_range(&text));
    let (at, total) = match (answer.response.status().as_u16(), held) {
        (200, _) => (0, answer.response.body().content_length()),
        (206, Some((held, etag))) if range.is_some_and(|(start, _)| start == Some(held)) => {
            if answer.etag.as_ref() != Some(&etag) {
                return starts_over(part, "the file changed on the server");
            }
            (held, range.map(|(_, total)| total))
        }
        // All was here already when the last attempt ended.
        (416, Some((held, _))) if range == Some((None, held)) => (held, Some(held)),
        _ => return starts_over(part, "the server cannot resume the file"),
    };
    if let Some(total) = total {
        progress::expect(bar, total);
    }
    if at == 0 {
        part.begin(answer.etag.as_deref())?;
    }
    if total != Some(at) {
        receive(answer.response.into_body().into_reader(), part, at, total, seen)?;
    }
    // The hub tags large files with their sha256.
    let tag = answer.etag.filter(|etag| etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit()));
    let (bytes, found) = sha256_of(&part.file)?;
    match wanted.sha256.as_ref().or(tag.as_ref()) {
        Some(expected) if !expected.eq_ignore_ascii_case(&found) => {
            part.discard()?;
            Err(Fault::Lasting(anyhow!("{} has sha256 {found}, expected {expected}", wanted.url)))
        }
        _ => Ok((bytes, found)),
    }
}

fn starts_over<T>(part: &Part, why: &'static str) -> Result<T, Fault> {
    part.discard()?;
    Err(Fault::Passing { error: anyhow!(why), advanced: false })
}

/// Appends a body to the part, which holds `at` bytes before.
fn receive(
    mut body: impl Read,
    part: &Part,
    mut at: u64,
    total: Option<u64>,
    seen: &dyn Fn(u64),
) -> Result<(), Fault> {
    let start = at;
    let mut file = part.append()?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let cut = match body.read(&mut buffer) {
            Ok(0) if total.is_none_or(|total| at == total) => break,
            Ok(0) => anyhow!("it ended"),
            Ok(n) => {
                file.write_all(&buffer[..n]).or_else(|error| cannot_write(part, error, at, total))?;
                at += n as u64;
                seen(at);
                continue;
            }
            Err(error) => anyhow::Error::new(error),
        };
        let of = total.map(|total| format!(" of {}", output::bytes(total))).unwrap_or_default();
        let error = cut.context(format!("the connection broke off after {}{of}", output::bytes(at)));
        return Err(Fault::Passing { error, advanced: at > start });
    }
    file.sync_all().or_else(|error| cannot_write(part, error, at, total))
}

/// A full disk is given back what we took of it; after other faults the part can still be resumed.
fn cannot_write(part: &Part, error: io::Error, at: u64, total: Option<u64>) -> Result<(), Fault> {
    let mut text = format!("cannot write {}", part.file.display());
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        part.discard()?;
        let needed = total.map(|total| format!(", {} are needed", output::bytes(total))).unwrap_or_default();
        text += &format!(": the disk was full after {}{needed}", output::bytes(at));
    }
    Err(Fault::Lasting(anyhow::Error::new(error).context(text)))
}

/// Start and total of `bytes START-END/TOTAL`, or no start and the total of `bytes */TOTAL`.
fn content_range(text: &str) -> Option<(Option<u64>, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let total = total.trim().parse().ok()?;
    match range.trim() {
        "*" => Some((None, total)),
        range => Some((Some(range.split_once('-')?.0.trim().parse().ok()?), total)),
    }
}

/// The two files of a download that is not finished.
struct Part {
    file: PathBuf,
    etag: PathBuf,
}

impl Part {
    fn beside(path: &Path) -> Part {
        let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
        Part { file: with(".part"), etag: with(".etag") }
    }

    /// How many bytes are here, and of which version; nothing if that cannot be told.
    fn held(&self) -> Option<(u64, String)> {
        let etag = fs::read_to_string(&self.etag).ok().filter(|etag| !etag.is_empty())?;
        let bytes = fs::metadata(&self.file).ok()?.len();
        (bytes > 0).then_some((bytes, etag))
    }

    fn begin(&self, etag: Option<&str>) -> anyhow::Result<()> {
        self.discard()?;
        let begin = || -> io::Result<()> {
            fs::write(&self.etag, etag.unwrap_or_default())?;
            File::create(&self.file).map(drop)
        };
        begin().with_context(|| format!("cannot write {}", self.file.display()))
    }

    fn append(&self) -> anyhow::Result<File> {
        let file = OpenOptions::new().append(true).open(&self.file);
        file.with_context(|| format!("cannot write {}", self.file.display()))
    }

    fn discard(&self) -> anyhow::Result<()> {
        for path in [&self.file, &self.etag] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_says_where_it_starts_and_how_long_the_file_is() {
        assert_eq!(content_range("bytes 10-99/100"), Some((Some(10), 100)));
        assert_eq!(content_range("bytes */100"), Some((None, 100)));
        for bad in ["", "bytes", "bytes 1/2", "bytes 1-2/*", "items 1-2/3", "bytes x-2/3"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_full_disk_is_given_back_what_was_taken() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part::beside(&folder.path().join("m.gguf"));
        part.begin(Some("tag")).unwrap();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let Err(Fault::Lasting(error)) = cannot_write(&part, full, 7, Some(70)) else {
            panic!("not refused")
        };
        assert!(error.to_string().contains("the disk was full after 7 B, 70 B are needed"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
