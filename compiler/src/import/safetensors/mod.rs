//! Folders as Hugging Face publishes them: config, weights in one file or in shards, tokeniser, template.
mod names;

use super::config::Json;
use super::{Config, Span, TensorInfo};
use crate::ImportError;
use crate::tokenizer::{Roles, Tokenizer};
use ir::DType;
use memmap2::Mmap;
use names::{Name, canonical};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

/// JSON files beside the weights beyond this are absurd: the largest tokenisers have some 35 MB.
const JSON_BYTES_MAX: u64 = 256 << 20;
/// A header of this size would name half a million tensors.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    config: Map<String, Value>,
    weights: Vec<(PathBuf, Mmap)>,
}

impl Folder {
    /// Reads the config and maps the weights.
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let config = match json(&path.join("config.json"))? {
            Some(config) => config,
            None => {
                let found = "a folder without config.json".into();
                return Err(ImportError::NotAModel { path: path.into(), found });
            }
        };
        let mut weights = Vec::new();
        for name in weight_files(path)? {
            let file = path.join(name);
            let io = |cause| ImportError::Io { path: file.clone(), cause };
            let handle = File::open(&file).map_err(io)?;
            // SAFETY: as for GGUF: weights are replaced by renaming, and what is read was checked before.
            let map = unsafe { Mmap::map(&handle) }.map_err(io)?;
            weights.push((file, map));
        }
        Ok(Self { path: path.into(), config, weights })
    }

    /// The config, and the tensors under GGUF's names.
    pub(super) fn read(&self) -> Result<(Config, BTreeMap<String, TensorInfo>), ImportError> {
        let path = self.path.join("config.json");
        let json = Json::new(&path, &self.config)?;
        let (mut tensors, mut experts) = (BTreeMap::new(), Experts::new());
        for (file, (path, map)) in self.weights.iter().enumerate() {
            shard(path, map, file, json.architecture(), &mut tensors, &mut experts)?;
        }
        for (name, own) in experts {
            let stacked = stack(&self.path, &name, own)?;
            if tensors.insert(name.clone(), stacked).is_some() {
                return Err(ImportError::DuplicateTensor { path: self.path.clone(), tensor: name });
            }
        }
        if json.is_tied()? {
            // Some exports store the embedding twice.
            tensors.remove("output.weight");
        } else if !tensors.contains_key("output.weight") {
            return Err(ImportError::MissingTensor {
                path: self.path.clone(),
                tensor: "lm_head.weight".into(),
            });
        }
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok((json.config(name, &tensors)?, tensors))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn map(&self, file: usize) -> &Mmap {
        &self.weights[file].1
    }

    /// The files that the model consists of, those of its weights first.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let beside = ["config.json", "generation_config.json", TOKENIZER, TOKENIZER_CONFIG, CHAT_TEMPLATE];
        let beside = beside.iter().map(|name| self.path.join(name)).filter(|path| path.is_file());
        self.weights.iter().map(|(path, _)| path.clone()).chain(beside).collect()
    }

    pub(super) fn keys(&self) -> Vec<(String, String)> {
        self.config.iter().map(|(key, value)| (key.clone(), value.to_string())).collect()
    }

    pub(super) fn tokenizer(&self) -> Result<Tokenizer, ImportError> {
        let path = self.path.join(TOKENIZER);
        let text = bytes(&path)?.ok_or_else(|| missing(&path))?;
        let beside = json(&self.path.join(TOKENIZER_CONFIG))?.unwrap_or_default();
        let generation = json(&self.path.join("generation_config.json"))?.unwrap_or_default();
        let name = |key: &str| token_name(beside.get(key));
        let ids = |fields: &Map<String, Value>| match fields.get("eos_token_id") {
            Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).collect(),
            Some(id) => Vec::from_iter(id.as_u64()),
            None => Vec::new(),
        };
        let eos_ids = ids(&generation).into_iter().chain(ids(&self.config));
        let roles = Roles {
            bos: name("bos_token"),
            eos: name("eos_token"),
            eos_ids: eos_ids.filter_map(|id| u32::try_from(id).ok()).collect(),
            add_bos: beside.get("add_bos_token").and_then(Value::as_bool),
            add_eos: beside.get("add_eos_token").and_then(Value::as_bool),
        };
        Tokenizer::from_json(&text, &roles).map_err(|cause| ImportError::Tokenizer { path, cause })
    }

    /// The template from its own file, or from the tokeniser's config; `default` where there are several.
    pub(super) fn chat_template(&self) -> Result<Option<String>, ImportError> {
        let path = self.path.join(CHAT_TEMPLATE);
        if let Some(template) = bytes(&path)? {
            let text = String::from_utf8(template);
            return text.map(Some).map_err(|_| ImportError::NotUtf8 { path, what: "the template".into() });
        }
        let beside = json(&self.path.join(TOKENIZER_CONFIG))?.unwrap_or_default();
        Ok(match beside.get("chat_template") {
            Some(Value::String(template)) => Some(template.clone()),
            Some(Value::Array(templates)) => templates
                .iter()
                .find(|template| template["name"] == "default")
                .and_then(|template| template["template"].as_str())
                .map(str::to_owned),
            _ => None,
        })
    }
}

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// The names of the files with weights, in order.
fn weight_files(folder: &Path) -> Result<BTreeSet<String>, ImportError> {
    let path = folder.join("model.safetensors.index.json");
    let Some(index) = json(&path)? else { return Ok(["model.safetensors".into()].into()) };
    let refuse = |found: String, expected: &str| ImportError::Key {
        path: path.clone(),
        key: "weight_map".into(),
        found,
        expected: expected.into(),
    };
    let Some(map) = index.get("weight_map").and_then(Value::as_object).filter(|map| !map.is_empty()) else {
        return Err(refuse("missing or empty".into(), "a file for each tensor"));
    };
    let names = map.values().map(|name| match name.as_str() {
        // A shard lies in the folder itself, whatever an index may say.
        Some(name) if Path::new(name).file_name().is_some_and(|plain| plain == name) => Ok(name.to_owned()),
        _ => Err(refuse(name.to_string(), "the name of a file in the folder")),
    });
    names.collect()
}

/// Adds the tensors of one file.
fn shard(
    path: &Path,
    map: &Mmap,
    file: usize,
    architecture: &str,
    tensors: &mut BTreeMap<String, TensorInfo>,
    experts: &mut Experts,
) -> Result<(), ImportError> {
    let refuse = |reason: String| ImportError::Safetensors { path: path.into(), reason };
    let header_bytes = map.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    if let Some(found) = header_bytes.filter(|bytes| *bytes > HEADER_BYTES_MAX) {
        let (what, limit) = ("bytes of header", HEADER_BYTES_MAX);
        return Err(ImportError::TooMany { path: path.into(), what, found, limit });
    }
    let (header, metadata) = SafeTensors::read_metadata(map).map_err(|error| refuse(error.to_string()))?;
    let data = header + size_of::<u64>();
    for (published, info) in metadata.tensors() {
        let tensor_error = |found: String, expected: &str| ImportError::Tensor {
            path: path.into(),
            tensor: published.clone(),
            found,
            expected: expected.into(),
        };
        let (name, expert) = match canonical(&published, architecture) {
            Name::Known(name) => (name, None),
            Name::Expert(name, number) => (name, Some(number)),
            Name::Beside => continue,
            Name::Unknown => {
                let expected = format!("a name that architecture {architecture} has");
                return Err(tensor_error("an unknown name".into(), &expected));
            }
        };
        let dtype = dtype(info.dtype).ok_or_else(|| {
            tensor_error(format!("format {:?}", info.dtype), "F32, F16, BF16, I64, I32, U8, I8 or BOOL")
        })?;
        let (start, end) = info.data_offsets;
        let info = TensorInfo {
            dtype,
            shape: info.shape.iter().map(|dim| *dim as u64).collect(),
            spans: vec![Span { file, range: data + start..data + end }],
        };
        let before = match expert {
            None => tensors.insert(name, info),
            Some(number) => experts.entry(name).or_default().insert(number, info),
        };
        if before.is_some() {
            return Err(ImportError::DuplicateTensor { path: path.into(), tensor: published });
        }
    }
    Ok(())
}

/// What experts have apart and one tensor is to hold, by its name and their numbers.
type Experts = BTreeMap<String, BTreeMap<u32, TensorInfo>>;

/// One tensor of those of all experts, with an axis for them in front.
fn stack(path: &Path, name: &str, experts: BTreeMap<u32, TensorInfo>) -> Result<TensorInfo, ImportError> {
    let refuse = |found: String, expected: String| {
        Err(ImportError::Tensor { path: path.into(), tensor: name.into(), found, expected })
    };
    let said = |info: &TensorInfo| format!("shape {:?} in {}", info.shape, info.dtype);
    let mut stacked: Option<TensorInfo> = None;
    for (expected, (number, info)) in (0..).zip(&experts) {
        if *number != expected {
            return refuse(
                format!("no expert {expected}, and an expert {number}"),
                "all up to the last".into(),
            );
        }
        let all = stacked.get_or_insert_with(|| TensorInfo { spans: vec![], ..info.clone() });
        if (all.dtype, &all.shape) != (info.dtype, &info.shape) {
            return refuse(
                format!("{} for expert {number}", said(info)),
                format!("{}, as for expert 0", said(all)),
            );
        }
        all.spans.extend(info.spans.iter().cloned());
    }
    let mut stacked = stacked.expect("a name comes with an expert");
    stacked.shape.insert(0, experts.len() as u64);
    Ok(stacked)
}

fn dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        Dtype::I64 => Some(DType::I64),
        Dtype::I32 => Some(DType::I32),
        Dtype::U8 => Some(DType::U8),
        Dtype::I8 => Some(DType::I8),
        Dtype::BOOL => Some(DType::Bool),
        _ => None,
    }
}

/// A token's name as `tokenizer_config.json` has it: plain, or inside what is said of the token.
fn token_name(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(name) => Some(name.clone()),
        Value::Object(token) => token.get("content")?.as_str().map(str::to_owned),
        _ => None,
    }
}

/// The object in a JSON file; none where there is no such file.
pub(super) fn json(path: &Path) -> Result<Option<Map<String, Value>>, ImportError> {
    let Some(bytes) = bytes(path)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|cause| ImportError::Json { path: path.into(), cause })
}

/// A file beside the weights; none where there is no such file.
fn bytes(path: &Path) -> Result<Option<Vec<u8>>, ImportError> {
    let size = match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(ImportError::Io { path: path.into(), cause }),
        Ok(metadata) => metadata.len(),
    };
    if size > JSON_BYTES_MAX {
        let (what, limit) = ("bytes", JSON_BYTES_MAX);
        return Err(ImportError::TooMany { path: path.into(), what, found: size, limit });
    }
    std::fs::read(path).map(Some).map_err(|cause| ImportError::Io { path: path.into(), cause })
}

fn missing(path: &Path) -> ImportError {
    ImportError::Io { path: path.into(), cause: std::io::ErrorKind::NotFound.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Checkpoint;
    use std::fs;
    use tempfile::TempDir;

    const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 4, "num_attention_heads": 2,
        "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 3, "tie_word_embeddings": true}"#;

    /// A safetensors file with tensors of F32 of these shapes.
    fn weights(tensors: &[(&str, &[usize])]) -> Vec<u8> {
        let mut header = Map::new();
        let mut end = 0;
        for (name, shape) in tensors {
            let start = end;
            end += shape.iter().product::<usize>() * 4;
            let info = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
            header.insert((*name).into(), info);
        }
        let header = Value::from(header).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.into_bytes());
        bytes.resize(bytes.len() + end, 0);
        bytes
    }

    fn embedding() -> Vec<u8> {
        weights(&[("model.embed_tokens.weight", &[3, 4])])
    }

    fn folder(files: &[(&str, &[u8])]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn refusal(files: &[(&str, &[u8])]) -> String {
        Checkpoint::open(folder(files).path()).expect_err("the folder is ill-formed").to_string()
    }

    fn is(found: String, expected: &str) {
        assert!(found.contains(expected), "{found}\nlacks {expected}");
    }

    #[test]
    fn a_folder_opens_with_the_least_that_a_model_needs() {
        let folder = folder(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", &embedding())]);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(checkpoint.bytes("token_embd.weight").unwrap().len(), 48);
        assert_eq!((checkpoint.config.kv_heads, checkpoint.config.head_dim), (2, 2));
        assert_eq!(checkpoint.files().len(), 2);
        is(
            checkpoint.weight("token_embd.weight", &[4, 3]).unwrap_err().to_string(),
            "has shape [3, 4] in f32, expected shape [4, 3]",
        );
        is(
            checkpoint.bytes("output_norm.weight").unwrap_err().to_string(),
            "tensor `output_norm.weight` is missing",
        );
        is(checkpoint.tokenizer().unwrap_err().to_string(), "tokenizer.json");
    }

    #[test]
    fn an_ill_formed_config_is_refused() {
        let config = |from: &str, to: &str| {
            assert!(CONFIG.contains(from));
            refusal(&[
                ("config.json", CONFIG.replace(from, to).as_bytes()),
                ("model.safetensors", &embedding()),
            ])
        };
        is(refusal(&[]), "a folder without config.json");
        is(refusal(&[("config.json", b"{")]), "config.json: EOF");
        is(
            config("\"llama\"", "\"runes\""),
            "architecture \"runes\" is unknown; known are llama, mistral, mixtral, qwen2",
        );
        is(config("\"llama\"", "7"), "key `model_type` is 7, expected a string");
        is(
            config("\"hidden_size\": 4", "\"hidden_size\": \"four\""),
            "key `hidden_size` is \"four\", expected an unsigned",
        );
        is(config("\"hidden_size\": 4,", ""), "key `hidden_size` is missing");
        is(
            config("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 1152921504606846976"),
            "key `num_hidden_layers` is 1152921504606846976, expected 1 to 4096",
        );
        is(
            config("heads\": 2", "heads\": 2, \"num_key_value_heads\": 3"),
            "key `num_key_value_heads` is 3, expected a divisor of 2 heads",
        );
        is(config("heads\": 2", "heads\": 0"), "key `num_attention_heads` is 0");
        let with = |field: &str| config("\"vocab_size\"", &format!("{field}, \"vocab_size\""));
        is(with("\"rms_norm_eps\": 0"), "key `rms_norm_eps` is 0, expected a finite number above 0");
        is(with("\"rope_theta\": -1"), "key `rope_theta` is -1, expected a finite number above 0");
        is(
            config(
                "\"llama\"",
                "\"mistral\", \"sliding_window\": 8, \"layer_types\": [\"full_attention\", \"sliding_attention\"]",
            ),
            "key `layer_types` is a list of 2, expected one for each of 1 layers",
        );
        let qwen = |field: &str| {
            let experts = "\"num_experts\": 4, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 8";
            config("\"llama\"", &format!("\"qwen3_moe\", {experts}, {field}"))
        };
        is(qwen("\"mlp_only_layers\": [0]"), "key `mlp_only_layers` is [0], expected an empty list");
        is(qwen("\"decoder_sparse_step\": 2"), "key `decoder_sparse_step` is 2, expected 1");
        is(
            config("\"llama\"", "\"mixtral\", \"num_experts_per_tok\": 2, \"num_local_experts\": 0"),
            "key `num_local_experts` is 0, expected 1 to 4096",
        );
        is(with("\"partial_rotary_factor\": 0.4"), "key `partial_rotary_factor` is 0.4, expected an even");
        is(config("hidden_size\": 4", "hidden_size\": 6"), "key `head_dim` is 3, expected an even number");
        let rope =
            |rope: &str| config("\"vocab_size\"", &format!("\"rope_scaling\": {rope}, \"vocab_size\""));
        is(rope("{\"type\": \"yarn\"}"), "key `rope_type`");
        is(rope("{\"type\": \"linear\", \"factor\": 0}"), "key `factor` is 0, expected a number above 0");
        is(
            config("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false"),
            "tensor `lm_head.weight` is missing",
        );
    }

    #[test]
    fn ill_formed_weights_are_refused() {
        let open =
            |bytes: &[u8]| refusal(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", bytes)]);
        let whole = embedding();
        for len in 0..whole.len() {
            is(open(&whole[..len]), "model.safetensors");
        }
        is(open(&[&[0xff; 8][..], &whole].concat()), "bytes of header, expected at most");
        is(
            open(&weights(&[("model.layers.0.surprise.weight", &[1])])),
            "an unknown name, expected a name that architecture llama has",
        );
        is(
            open(&weights(&[
                ("model.embed_tokens.weight", &[3, 4]),
                ("model.layers.0.self_attn.o_proj.bias", &[4]),
            ])),
            "has a bias, expected none there",
        );
        is(
            open(&weights(&[
                ("model.embed_tokens.weight", &[3, 4]),
                ("model.layers.1.mlp.up_proj.weight", &[8, 4]),
            ])),
            "has layer 1, expected one of the 1 that key `num_hidden_layers` states",
        );
        is(open(&String::from_utf8_lossy(&whole).replace("F32", "U32").into_bytes()), "format U32");
        is(refusal(&[("config.json", CONFIG.as_bytes())]), "cannot read");
    }

    #[test]
    fn weights_of_experts_become_one_tensor() {
        let config =
            CONFIG.replace("\"llama\"", "\"mixtral\", \"num_experts_per_tok\": 1, \"num_local_experts\": 2");
        let name = |expert| format!("model.layers.0.block_sparse_moe.experts.{expert}.w1.weight");
        let open = |first: (u32, &[usize]), second: (u32, &[usize])| {
            let names = [name(first.0), name(second.0)];
            let tensors =
                [("model.embed_tokens.weight", &[3, 4][..]), (&names[0], first.1), (&names[1], second.1)];
            let folder =
                folder(&[("config.json", config.as_bytes()), ("model.safetensors", &weights(&tensors))]);
            Checkpoint::open(folder.path())
        };
        let gate = "blk.0.ffn_gate_exps.weight";
        let stacked = open((1, &[8, 4]), (0, &[8, 4])).unwrap();
        assert_eq!(stacked.tensor(gate).unwrap().byte_len(), 256);
        let pieces = stacked.pieces(gate).unwrap();
        assert_eq!(pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>(), [128, 128]);
        assert!(pieces[1].as_ptr() < pieces[0].as_ptr() && stacked.bytes(gate).unwrap().len() == 256);
        let refusal = |first, second| open(first, second).unwrap_err().to_string();
        is(
            refusal((0, &[8, 4]), (2, &[8, 4])),
            "has no expert 1, and an expert 2, expected all up to the last",
        );
        is(
            refusal((0, &[8, 4]), (1, &[4, 8])),
            "has shape [4, 8] in f32 for expert 1, expected shape [8, 4] in f32, as for expert 0",
        );
        is(refusal((0, &[8, 4]), (4294967295, &[8, 4])), "has no expert 1");
    }

    #[test]
    fn shards_come_from_the_folder_and_hold_each_tensor_once() {
        let open = |index: &str, shards: &[(&str, &[u8])]| {
            let files =
                [("config.json", CONFIG.as_bytes()), ("model.safetensors.index.json", index.as_bytes())];
            refusal(&[&files[..], shards].concat())
        };
        is(open("{}", &[]), "key `weight_map` is missing or empty");
        is(open(r#"{"weight_map": {"a": "../b"}}"#, &[]), "expected the name of a file in the folder");
        is(open(r#"{"weight_map": {"a": 1}}"#, &[]), "expected the name of a file in the folder");
        is(open(r#"{"weight_map": {"a": "1"}}"#, &[]), "cannot read");
        let both = r#"{"weight_map": {"a": "1", "b": "2"}}"#;
        is(
            open(both, &[("1", &embedding()), ("2", &embedding())]),
            "`model.embed_tokens.weight` stands twice",
        );
    }
}
