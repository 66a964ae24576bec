//! The names by which models are asked for: `smollm2`, `hf:ORG/REPO/FILE`, a path.
use super::catalogue::{self, Listed};
use anyhow::bail;
use std::path::PathBuf;

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Catalogue(&'static Listed),
    Hub { repo: String, file: Option<String> },
    Path(PathBuf),
}

impl Source {
    pub fn parse(text: &str) -> anyhow::Result<Source> {
        if let Some(rest) = text.strip_prefix("hf:") {
            return hub(text, rest);
        }
        if let Some(listed) = catalogue::find(text) {
            return Ok(Source::Catalogue(listed));
        }
        let path = PathBuf::from(text);
        if path.exists() {
            return Ok(Source::Path(path));
        }
        let aliases: Vec<&str> = catalogue::LIST.iter().map(|listed| listed.alias).collect();
        bail!(
            "no model {text}: expected one of {}, hf:ORG/REPO[/FILE], or a path that exists",
            aliases.join(", ")
        )
    }

    /// The name under which it is kept. A path's is chosen when it is read, see `local`.
    pub(crate) fn name(&self) -> String {
        match self {
            Source::Catalogue(listed) => listed.alias.to_string(),
            Source::Hub { repo, file: None } => format!("hf:{repo}"),
            Source::Hub { repo, file: Some(file) } => format!("hf:{repo}/{file}"),
            Source::Path(path) => path.display().to_string(),
        }
    }
}

fn hub(text: &str, rest: &str) -> anyhow::Result<Source> {
    let sound = |part: &str| {
        let named = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(named)
    };
    let parts: Vec<&str> = rest.split('/').collect();
    match &parts[..] {
        [org, repo, file @ ..] if parts.iter().all(|part| sound(part)) => Ok(Source::Hub {
            repo: format!("{org}/{repo}"),
            file: (!file.is_empty()).then(|| file.join("/")),
        }),
        _ => bail!("found {text}, expected hf:ORG/REPO or hf:ORG/REPO/FILE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_name_has_an_organisation_a_repository_and_perhaps_a_file() {
        let hub = |file: Option<&str>| Source::Hub { repo: "o/r".into(), file: file.map(String::from) };
        assert_eq!(Source::parse("hf:o/r").unwrap(), hub(None));
        assert_eq!(Source::parse("hf:o/r/f.gguf").unwrap(), hub(Some("f.gguf")));
        assert_eq!(Source::parse("hf:o/r/sub/f.gguf").unwrap(), hub(Some("sub/f.gguf")));
        for bad in ["hf:", "hf:o", "hf:/r", "hf:o/r/", "hf:o/../x", "hf:o/r?x", "hf:o//f"] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Source::parse("no-such-model").unwrap_err().to_string();
        assert!(
            error.contains("smollm2") && error.contains("gemma3-270m") && error.contains("hf:"),
            "{error}"
        );
    }
}
