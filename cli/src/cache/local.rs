//! Keeps a model that already lies on this machine: by hard link where the file system can, else by copy.
use super::kept::{Kept, KeptFile};
use super::{Cache, Pulled, catalogue, create_folder, remove_folder};
use anyhow::{Context, bail};
use compiler::import::Checkpoint;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// How a local file came into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    HardLink,
    /// The file system may share the bytes of a copy until one side is changed.
    Copy,
}

pub(super) fn keep(cache: &Cache, path: &Path) -> anyhow::Result<(Kept, Pulled)> {
    let path = path.canonicalize().with_context(|| format!("cannot open {}", path.display()))?;
    let (folder, names) = files_of(&path)?;
    Checkpoint::open(&path)?;
    let files = names.iter().map(|name| KeptFile::read(&folder, name)).collect::<anyhow::Result<Vec<_>>>()?;
    let kept =
        Kept { name: name_of(&path, &files)?, source: path.display().to_string(), licence: None, files };
    let _lock = cache.lock(&kept.name)?;
    if let Some(earlier) =
        cache.kept(&kept.name)?.filter(|earlier| earlier.is_complete(&cache.folder(&kept.name)))
    {
        if earlier.files == kept.files {
            return Ok((earlier, Pulled::AlreadyKept));
        }
        let (name, source) = (&earlier.name, &earlier.source);
        bail!(
            "another model named {name} is kept (from {source}): `heddle rm {name}` first, or rename this one"
        );
    }
    let partial = cache.partial(&kept.name);
    remove_folder(&partial)?;
    create_folder(&partial)?;
    let mut way = Way::HardLink;
    for file in &kept.files {
        if let Err(error) = place(&folder, &partial, file, &mut way) {
            let _ = remove_folder(&partial);
            return Err(error.context(format!("cannot keep {}", path.display())));
        }
    }
    cache.publish(&kept)?;
    Ok((kept, Pulled::Local(way)))
}

/// The folder, and the names of the files in it that make up the model.
fn files_of(path: &Path) -> anyhow::Result<(PathBuf, Vec<String>)> {
    let name = |path: &Path| match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok(name.to_string()),
        None => bail!("{} has a name that is not UTF-8", path.display()),
    };
    if !path.is_dir() {
        let folder = path.parent().context("a file lies in a folder")?;
        return Ok((folder.to_path_buf(), vec![name(path)?]));
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        let entry = entry?.path();
        if entry.is_file() {
            names.push(name(&entry)?);
        }
    }
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    if !names.iter().any(|name| name == "config.json")
        || !names.iter().any(|name| name.ends_with(".safetensors"))
    {
        bail!("{} is no model folder: expected config.json and *.safetensors in it", path.display());
    }
    Ok((path.to_path_buf(), names))
}

/// A model is known by its file's stem, unless it is one of the catalogue's: then by its alias.
fn name_of(path: &Path, files: &[KeptFile]) -> anyhow::Result<String> {
    let is_listed = |listed: &&catalogue::Listed| files.len() == 1 && files[0].sha256 == listed.sha256;
    if let Some(listed) = catalogue::LIST.iter().find(is_listed) {
        return Ok(listed.alias.to_string());
    }
    let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let stem = stem.map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = stem.trim_start_matches('.').chars().map(plain).collect();
    if name.is_empty() || catalogue::find(&name).is_some() {
        bail!("{} cannot be kept as `{name}`: that name is taken, rename the file", path.display());
    }
    Ok(name)
}

fn place(folder: &Path, partial: &Path, file: &KeptFile, way: &mut Way) -> anyhow::Result<()> {
    // A link to a symbolic link would be broken as soon as that is.
    let (from, to) = (folder.join(&file.path).canonicalize()?, partial.join(&file.path));
    if fs::hard_link(&from, &to).is_ok() {
        return Ok(());
    }
    *way = Way::Copy;
    fs::copy(&from, &to)
        .and_then(|_| File::open(&to)?.sync_all())
        .with_context(|| format!("cannot copy to {}", to.display()))?;
    if KeptFile::read(partial, &file.path)? != *file {
        bail!("{} changed while it was copied", from.display());
    }
    Ok(())
}
