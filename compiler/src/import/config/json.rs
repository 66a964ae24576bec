//! A config from a `config.json` as Hugging Face publishes them.
use super::keys::Key;
use super::{
    Activation, Config, Experts, Family, GEMMA3, GEMMA3_LOCAL_THETA, GEMMA3_PATTERN, LAYERS_MAX, Pairing,
    Rope, RopeScaling, Window, local_layers,
};
use crate::ImportError;
use crate::import::TensorInfo;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// What a publisher may leave out of a config, because transformers knows it.
struct Defaults {
    vocab: Option<u64>,
    heads: Option<u64>,
    kv_heads: Option<u64>,
    head_dim: Option<u64>,
    context_length: u64,
    theta: f32,
    tied: bool,
}

fn defaults(family: &Family) -> Defaults {
    let plain = Defaults {
        vocab: None,
        heads: None,
        kv_heads: None,
        head_dim: None,
        context_length: 2048,
        theta: 10_000.0,
        tied: false,
    };
    match family.name {
        GEMMA3 => Defaults {
            vocab: Some(262_208),
            heads: Some(8),
            kv_heads: Some(4),
            head_dim: Some(256),
            context_length: 131_072,
            theta: 1_000_000.0,
            tied: true,
        },
        "qwen3" => Defaults { head_dim: Some(128), context_length: 32_768, ..plain },
        "qwen2" | "qwen3moe" => Defaults { context_length: 32_768, ..plain },
        _ => plain,
    }
}

/// A `config.json`: which architecture it is of, and where its fields stand.
pub(in crate::import) struct Json<'a> {
    path: &'a Path,
    fields: &'a Map<String, Value>,
    family: &'static Family,
}

impl<'a> Json<'a> {
    pub(in crate::import) fn new(
        path: &'a Path,
        fields: &'a Map<String, Value>,
    ) -> Result<Self, ImportError> {
        let found = match fields.get("model_type") {
            Some(Value::String(found)) => found,
            found => return Err(refuse(path, "model_type", found, "a string")),
        };
        let family = Family::find(path, found, |family| family.model_types.contains(&&found[..]))?;
        // A model that sees has the config of its text part inside.
        let fields = fields.get("text_config").and_then(Value::as_object).unwrap_or(fields);
        Ok(Self { path, fields, family })
    }

    /// The architecture as GGUF names it.
    pub(in crate::import) fn architecture(&self) -> &'static str {
        self.family.name
    }

    /// Whether the config says that the output matrix is the embedding; of a config that says nothing,
    /// whether the architecture has it so.
    pub(in crate::import) fn is_tied(&self) -> Result<bool, ImportError> {
        Ok(self.bool("tie_word_embeddings")?.unwrap_or(defaults(self.family).tied))
    }

    pub(in crate::import) fn config(
        &self,
        name: Option<String>,
        tensors: &BTreeMap<String, TensorInfo>,
    ) -> Result<Config, ImportError> {
        let known = defaults(self.family);
        let is_gemma = self.family.name == GEMMA3;
        let hidden = self.size("hidden_size", None)?;
        let heads = self.size("num_attention_heads", known.heads)?;
        let layers = self.size("num_hidden_layers", None)?;
        let head_dim = self.size("head_dim", Some(known.head_dim.unwrap_or(hidden / heads.max(1))))?;
        let rope = self.rope(head_dim, known.theta)?;
        let scalar = self.f32("query_pre_attn_scalar")?.filter(|_| is_gemma);
        if scalar.is_some_and(|scalar| scalar <= 0.0) {
            return Err(self.refuse("query_pre_attn_scalar", "a number above 0"));
        }
        let has = |name: &str| tensors.contains_key(name);
        let config = Config {
            architecture: self.family.name.into(),
            name,
            layers,
            hidden,
            heads,
            kv_heads: self.size("num_key_value_heads", Some(known.kv_heads.unwrap_or(heads)))?,
            head_dim,
            ffn: self.size("intermediate_size", None)?,
            experts: self.experts()?,
            vocab: self.size("vocab_size", known.vocab)?,
            context_length: self.size("max_position_embeddings", Some(known.context_length))?,
            rms_eps: self.f32("rms_norm_eps")?.unwrap_or(1e-6),
            window: self.window(layers, &rope)?,
            rope,
            embedding_scale: if is_gemma { (hidden as f32).sqrt() } else { 1.0 },
            attention_scale: 1.0 / scalar.unwrap_or(head_dim as f32).sqrt(),
            tied_embeddings: !has("output.weight"),
            qkv_bias: has("blk.0.attn_q.bias"),
            qk_norm: has("blk.0.attn_q_norm.weight"),
            activation: self.activation()?,
            norm_weight_offset: if is_gemma { 1.0 } else { 0.0 },
            attention_softcap: self.f32("attn_logit_softcapping")?,
            final_softcap: self.f32("final_logit_softcapping")?,
        };
        let has_own_experts = self.family.name == "qwen3moe";
        config.checked(self.path, tensors, |key| match key {
            Key::Experts if !has_own_experts => "num_local_experts".into(),
            Key::ExpertFfn if !has_own_experts => "intermediate_size".into(),
            key => key.in_json().into(),
        })
    }

    /// Layers without experts, and experts that every token goes to, are refused: nothing here computes them.
    fn experts(&self) -> Result<Option<Experts>, ImportError> {
        let (count, ffn) = match (self.family.name, self.string("model_type")?) {
            ("qwen3moe", _) => ("num_experts", "moe_intermediate_size"),
            (_, Some("mixtral")) => ("num_local_experts", "intermediate_size"),
            _ => return Ok(None),
        };
        if self.u64("decoder_sparse_step")?.is_some_and(|step| step != 1) {
            return Err(self.refuse("decoder_sparse_step", "1: experts in every layer"));
        }
        if self
            .present("mlp_only_layers")
            .is_some_and(|layers| layers.as_array().is_none_or(|l| !l.is_empty()))
        {
            return Err(self.refuse("mlp_only_layers", "an empty list: experts in every layer"));
        }
        Ok(Some(Experts {
            // Newer versions of transformers write one word for all models.
            count: self.size(count, self.u64("num_local_experts")?)?,
            used: self.size("num_experts_per_tok", None)?,
            ffn: self.size(ffn, None)?,
            // Mixtral takes the softmax of those chosen, which is the same.
            normalise: count == "num_local_experts" || self.bool("norm_topk_prob")?.unwrap_or(false),
        }))
    }

    fn activation(&self) -> Result<Activation, ImportError> {
        let key = if self.family.name == GEMMA3 { "hidden_activation" } else { "hidden_act" };
        match self.string(key)? {
            None if self.family.name == GEMMA3 => Ok(Activation::GeluTanh),
            Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            None | Some("silu") => Ok(Activation::Silu),
            Some(_) => Err(self.refuse(key, "silu or gelu_pytorch_tanh")),
        }
    }

    fn rope(&self, head_dim: u64, theta: f32) -> Result<Rope, ImportError> {
        // Newer configs have one object for it, by kinds of layers where these differ; older ones two fields.
        let newer = self.object("rope_parameters")?;
        let newer = newer.map(|rope| rope.inside("full_attention")).transpose()?;
        let scaling = match &newer {
            Some(rope) => rope.scaling()?,
            None => self.object("rope_scaling")?.map_or(Ok(RopeScaling::None), |rope| rope.scaling())?,
        };
        let stated = newer.map(|rope| rope.f32("rope_theta")).transpose()?.flatten();
        let dims = match self.f32("partial_rotary_factor")? {
            Some(part) => (head_dim as f32 * part) as u64,
            None => head_dim,
        };
        if dims != head_dim && (dims == 0 || dims % 2 == 1 || dims > head_dim) {
            return Err(self.refuse("partial_rotary_factor", "an even part of each head"));
        }
        Ok(Rope {
            theta: stated.or(self.f32("rope_theta")?).unwrap_or(theta),
            pairing: Pairing::Halves,
            dims,
            scaling,
        })
    }

    fn scaling(&self) -> Result<RopeScaling, ImportError> {
        let required = |key: &str| match self.f32(key)? {
            Some(value) if value > 0.0 => Ok(value),
            _ => Err(self.refuse(key, "a number above 0")),
        };
        match self.string("rope_type")?.or(self.string("type")?) {
            None | Some("default") => Ok(RopeScaling::None),
            Some("linear") => Ok(RopeScaling::Linear { factor: required("factor")? }),
            Some("llama3") => {
                let (low, high) = (required("low_freq_factor")?, required("high_freq_factor")?);
                if low >= high {
                    return Err(self.refuse("high_freq_factor", "more than low_freq_factor"));
                }
                let original_context = required("original_max_position_embeddings")?;
                Ok(RopeScaling::Llama3 { factor: required("factor")?, low, high, original_context })
            }
            Some(_) => Err(self.refuse("rope_type", "default, linear or llama3")),
        }
    }

    fn window(&self, layers: u64, rope: &Rope) -> Result<Option<Window>, ImportError> {
        let is_gemma = self.family.name == GEMMA3;
        let stated = self.u64("sliding_window")?.or(is_gemma.then_some(4096));
        let is_used =
            self.family.name != "llama" || matches!(self.string("model_type")?, Some("mistral" | "mixtral"));
        let is_used =
            is_used && self.bool("use_sliding_window")?.unwrap_or(!self.family.name.starts_with("qwen"));
        let Some(tokens) = stated.filter(|_| is_used) else { return Ok(None) };
        let local = match self.layer_types()? {
            Some(local) => local,
            None if is_gemma => {
                local_layers(layers, self.u64("sliding_window_pattern")?.unwrap_or(GEMMA3_PATTERN))
            }
            None => {
                let first = self.u64("max_window_layers")?.unwrap_or(0);
                (0..layers.min(LAYERS_MAX)).map(|layer| layer >= first).collect()
            }
        };
        if !local.contains(&true) {
            return Ok(None);
        }
        let rope = if is_gemma {
            let newer = self.object("rope_parameters")?;
            let newer = newer.map(|rope| rope.inside("sliding_attention")).transpose()?;
            let newer = newer.map(|rope| rope.f32("rope_theta")).transpose()?.flatten();
            let theta = newer.or(self.f32("rope_local_base_freq")?).unwrap_or(GEMMA3_LOCAL_THETA);
            Rope { theta, scaling: RopeScaling::None, ..rope.clone() }
        } else {
            rope.clone()
        };
        Ok(Some(Window { tokens, local, rope }))
    }

    /// Which layers have a window, where the config lists them one by one.
    fn layer_types(&self) -> Result<Option<Vec<bool>>, ImportError> {
        let refuse = || self.refuse("layer_types", "a list of sliding_attention and full_attention");
        let Some(types) = self.present("layer_types") else { return Ok(None) };
        let kinds = types.as_array().ok_or_else(refuse)?.iter().map(|kind| match kind.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(refuse()),
        });
        kinds.collect::<Result<_, _>>().map(Some)
    }

    /// The object under `key` where there is one, or else this object.
    fn inside(self, key: &str) -> Result<Self, ImportError> {
        Ok(self.object(key)?.unwrap_or(self))
    }

    fn object(&self, key: &str) -> Result<Option<Json<'a>>, ImportError> {
        let object = self.typed(key, "an object", Value::as_object)?;
        Ok(object.map(|fields| Json { path: self.path, fields, family: self.family }))
    }

    fn size(&self, key: &str, default: Option<u64>) -> Result<u64, ImportError> {
        let missing = || ImportError::MissingKey { path: self.path.into(), key: key.into() };
        self.u64(key)?.or(default).ok_or_else(missing)
    }

    fn u64(&self, key: &str) -> Result<Option<u64>, ImportError> {
        self.typed(key, "an unsigned integer", Value::as_u64)
    }

    fn f32(&self, key: &str) -> Result<Option<f32>, ImportError> {
        let finite = |value: &Value| value.as_f64().map(|v| v as f32).filter(|v| v.is_finite());
        self.typed(key, "a number", finite)
    }

    fn bool(&self, key: &str) -> Result<Option<bool>, ImportError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    fn string(&self, key: &str) -> Result<Option<&'a str>, ImportError> {
        self.typed(key, "a string", Value::as_str)
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ImportError> {
        let Some(value) = self.present(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.refuse(key, expected))
    }

    /// A field that is neither missing nor null.
    fn present(&self, key: &str) -> Option<&'a Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    fn refuse(&self, key: &str, expected: &str) -> ImportError {
        refuse(self.path, key, self.fields.get(key), expected)
    }
}

fn refuse(path: &Path, key: &str, found: Option<&Value>, expected: &str) -> ImportError {
    let (path, key) = (path.into(), key.to_owned());
    match found {
        None => ImportError::MissingKey { path, key },
        Some(found) => {
            let mut found = found.to_string();
            if let Some((end, _)) = found.char_indices().nth(80) {
                found.truncate(end);
            }
            ImportError::Key { path, key, found, expected: expected.into() }
        }
    }
}
