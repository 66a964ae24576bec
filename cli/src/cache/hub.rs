//! Fetches a model from the Hugging Face hub, or from whatever `HF_ENDPOINT` names instead.
use super::create_folder;
use super::download::{Wanted, download};
use super::http::Client;
use super::kept::{Kept, KeptFile};
use crate::{output, progress};
use anyhow::bail;
use serde::Deserialize;
use std::path::Path;

/// What stands beside the weights in a folder that an importer may want.
const COMPANIONS: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// Where models come from, and what to show at the door.
pub struct Hub {
    endpoint: String,
    token: Option<String>,
}

/// What the hub says of a repository.
#[derive(Deserialize)]
struct Repository {
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Clone, Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Clone, Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: Option<String>,
}

impl Hub {
    pub(super) fn from_env() -> Hub {
        let set = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Hub { endpoint: endpoint.trim_end_matches('/').to_string(), token: set("HF_TOKEN") }
    }

    /// Fetches a file, or what the repository has to offer, into the folder `partial`.
    ///
    /// Files that an earlier attempt finished there are kept, and a file it began is resumed.
    pub(super) fn fetch(
        &self,
        name: &str,
        repo: &str,
        file: Option<&str>,
        partial: &Path,
    ) -> anyhow::Result<Kept> {
        let client = Client::new(&self.endpoint, self.token.as_deref());
        let (revision, chosen) = match file {
            Some(file) => {
                let sibling = Sibling { rfilename: file.to_string(), size: None, lfs: None };
                ("main".to_string(), vec![sibling])
            }
            None => {
                let url = format!("{}/api/models/{repo}/revision/main?blobs=true", self.endpoint);
                let listing: Repository = client.json(&url)?;
                let chosen = choose(repo, &listing.siblings)?;
                (listing.sha.unwrap_or_else(|| "main".into()), chosen)
            }
        };
        let total = chosen.iter().map(|sibling| sibling.size).sum::<Option<u64>>();
        let bar = progress::bytes(&format!("pulling {name}"), total);
        let mut files = Vec::new();
        for sibling in &chosen {
            let path = partial.join(&sibling.rfilename);
            if let Some(folder) = path.parent() {
                create_folder(folder)?;
            }
            let url = format!("{}/{repo}/resolve/{revision}/{}", self.endpoint, sibling.rfilename);
            let sha256 = sibling.lfs.as_ref().and_then(|lfs| lfs.sha256.clone());
            let (bytes, sha256) = download(&client, &Wanted { url, sha256 }, &path, &bar)?;
            files.push(KeptFile { path: sibling.rfilename.clone(), bytes, sha256 });
        }
        bar.finish_and_clear();
        Ok(Kept { name: name.to_string(), source: format!("{}/{repo}", self.endpoint), licence: None, files })
    }
}

/// The files that make up the model: its one GGUF file, or a folder of safetensors.
fn choose(repo: &str, siblings: &[Sibling]) -> anyhow::Result<Vec<Sibling>> {
    let of = |fits: &dyn Fn(&str) -> bool| -> Vec<Sibling> {
        siblings.iter().filter(|sibling| fits(&sibling.rfilename)).cloned().collect()
    };
    // A vision projector is no model of its own.
    let ggufs = of(&|file| file.ends_with(".gguf") && !file.contains("mmproj"));
    let top = |file: &str| file.ends_with(".safetensors") && !file.contains('/');
    // Some repositories hold the same weights twice, as `model*` and under their first owner's names.
    let mut weights = of(&|file| top(file) && file.starts_with("model"));
    if weights.is_empty() {
        weights = of(&top);
    }
    match &ggufs[..] {
        [one] => Ok(vec![one.clone()]),
        [] if !weights.is_empty() => {
            let mut files = of(&|file| COMPANIONS.contains(&file) || file == "model.safetensors.index.json");
            files.extend(weights);
            Ok(files)
        }
        [] => {
            let files: Vec<&str> =
                siblings.iter().take(20).map(|sibling| sibling.rfilename.as_str()).collect();
            bail!("{repo} holds neither GGUF nor safetensors; it holds: {}", files.join(", "))
        }
        several => {
            let size =
                |s: &Sibling| s.size.map(|size| format!(" ({})", output::bytes(size))).unwrap_or_default();
            let list: Vec<String> = several
                .iter()
                .map(|s| format!("\n  heddle pull hf:{repo}/{}{}", s.rfilename, size(s)))
                .collect();
            bail!("{repo} holds {} GGUF files, choose one:{}", several.len(), list.concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Result<Vec<String>, String> {
        let sibling = |name: &&str| Sibling { rfilename: name.to_string(), size: Some(7), lfs: None };
        match choose("o/r", &files.iter().map(sibling).collect::<Vec<_>>()) {
            Ok(chosen) => Ok(chosen.into_iter().map(|sibling| sibling.rfilename).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_only_gguf_is_chosen_before_safetensors() {
        let files = ["README.md", "config.json", "model.safetensors", "a.gguf", "mmproj-a.gguf"];
        assert_eq!(names(&files).unwrap(), ["a.gguf"]);
    }

    #[test]
    fn several_ggufs_are_listed_for_choice() {
        let error = names(&["a-q4.gguf", "a-q8.gguf"]).unwrap_err();
        assert!(error.contains("hf:o/r/a-q4.gguf (7 B)") && error.contains("hf:o/r/a-q8.gguf"), "{error}");
    }

    #[test]
    fn a_safetensors_folder_is_the_weights_once_and_what_describes_them() {
        let files = [
            "README.md",
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "onnx/model.safetensors",
            "tokenizer.json",
        ];
        assert_eq!(
            names(&files).unwrap(),
            [
                "config.json",
                "model.safetensors.index.json",
                "tokenizer.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
            ]
        );
    }

    #[test]
    fn a_repository_without_weights_says_what_it_holds() {
        let error = names(&["README.md", "pytorch_model.bin"]).unwrap_err();
        assert!(error.contains("pytorch_model.bin"), "{error}");
    }
}
