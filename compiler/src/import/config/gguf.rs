//! A config from the keys of a GGUF file.
use super::{
    Activation, Config, Experts, Family, GEMMA3, GEMMA3_LOCAL_THETA, GEMMA3_PATTERN, Pairing, Rope,
    RopeScaling, Window, local_layers,
};
use crate::ImportError;
use crate::import::gguf::Gguf;
use ir::DType;

/// What the format calls a softmax over experts.
const SOFTMAX: u64 = 1;
const ROPE_FACTORS: &str = "rope_freqs.weight";

impl Config {
    pub(crate) fn from_gguf(gguf: &Gguf) -> Result<Self, ImportError> {
        let found = gguf.required("general.architecture", gguf.string("general.architecture")?)?;
        let family = Family::find(gguf.path(), found, |family| family.name == found)?;
        let keys = Keys { gguf, architecture: family.name };
        let is_gemma = family.name == GEMMA3;
        let (hidden, heads) = (keys.size("embedding_length")?, keys.size("attention.head_count")?);
        let layers = keys.size("block_count")?;
        let head_dim = keys.u64("attention.key_length")?.unwrap_or(hidden / heads.max(1));
        let value_dim = keys.u64("attention.value_length")?.unwrap_or(head_dim);
        if value_dim != head_dim {
            let expected = format!("{head_dim}, as the key's");
            return Err(keys.refuse("attention.value_length", value_dim.to_string(), expected));
        }
        let rope = keys.rope(family.gguf_pairing, head_dim)?;
        // Gemma's largest scales by the size of a head as it would be without `key_length`.
        let is_largest_gemma = is_gemma && layers == 62;
        let attention_dim = if is_largest_gemma { hidden / heads.max(1) } else { head_dim };
        let attention_scale = keys.f32("attention.scale")?.unwrap_or(1.0 / (attention_dim as f32).sqrt());
        let has = |name: &str| gguf.tensors().contains_key(name);
        let config = Config {
            architecture: family.name.into(),
            name: gguf.string("general.name")?.map(str::to_owned),
            layers,
            hidden,
            heads,
            kv_heads: keys.u64("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            ffn: keys.size("feed_forward_length")?,
            experts: keys.experts()?,
            vocab: keys.vocab()?,
            context_length: keys.size("context_length")?,
            rms_eps: gguf.required(
                &keys.name("attention.layer_norm_rms_epsilon"),
                keys.f32("attention.layer_norm_rms_epsilon")?,
            )?,
            window: keys.window(layers, is_gemma, &rope)?,
            rope,
            embedding_scale: if is_gemma { (hidden as f32).sqrt() } else { 1.0 },
            attention_scale,
            tied_embeddings: !has("output.weight"),
            qkv_bias: has("blk.0.attn_q.bias"),
            qk_norm: has("blk.0.attn_q_norm.weight"),
            activation: if is_gemma { Activation::GeluTanh } else { Activation::Silu },
            norm_weight_offset: 0.0,
            attention_softcap: keys.f32("attn_logit_softcapping")?,
            final_softcap: keys.f32("final_logit_softcapping")?,
        };
        config.checked(gguf.path(), gguf.tensors(), |key| keys.name(key.in_gguf()))
    }
}

/// The keys that begin with the architecture's name.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'static str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn u64(&self, key: &str) -> Result<Option<u64>, ImportError> {
        self.gguf.u64(&self.name(key))
    }

    fn f32(&self, key: &str) -> Result<Option<f32>, ImportError> {
        self.gguf.f32(&self.name(key))
    }

    /// A size that must be there.
    fn size(&self, key: &str) -> Result<u64, ImportError> {
        self.gguf.required(&self.name(key), self.u64(key)?)
    }

    /// What other architectures do with experts is refused where a file asks for it.
    fn experts(&self) -> Result<Option<Experts>, ImportError> {
        let count = match (self.u64("expert_count")?, self.architecture) {
            (None | Some(0), "qwen3moe") => self.size("expert_count")?,
            (None | Some(0), _) => return Ok(None),
            (Some(count), _) => count,
        };
        for (key, expected) in [("expert_shared_count", 0), ("expert_gating_func", SOFTMAX)] {
            if let Some(found) = self.u64(key)?.filter(|found| *found != expected) {
                return Err(self.refuse(key, found.to_string(), expected.to_string()));
            }
        }
        if let Some(found) = self.f32("expert_weights_scale")?.filter(|by| ![0.0, 1.0].contains(by)) {
            return Err(self.refuse("expert_weights_scale", found.to_string(), "1".into()));
        }
        let ffn = match self.u64("expert_feed_forward_length")? {
            Some(ffn) => ffn,
            None => self.size("feed_forward_length")?,
        };
        let normalise = self.gguf.bool(&self.name("expert_weights_norm"))?.unwrap_or(true);
        Ok(Some(Experts { count, used: self.size("expert_used_count")?, ffn, normalise }))
    }

    fn refuse(&self, key: &str, found: String, expected: String) -> ImportError {
        ImportError::Key { path: self.gguf.path().into(), key: self.name(key), found, expected }
    }

    /// The rows of the embedding, which not every file states as a key.
    fn vocab(&self) -> Result<u64, ImportError> {
        let (path, tensor) = (self.gguf.path(), "token_embd.weight");
        match self.gguf.tensors().get(tensor).map(|info| &info.shape[..]) {
            Some([rows, _]) => Ok(*rows),
            Some(shape) => Err(ImportError::Tensor {
                path: path.into(),
                tensor: tensor.into(),
                found: format!("shape {shape:?}"),
                expected: "a row for each token".into(),
            }),
            None => Err(ImportError::MissingTensor { path: path.into(), tensor: tensor.into() }),
        }
    }

    fn rope(&self, pairing: Pairing, head_dim: u64) -> Result<Rope, ImportError> {
        let dims = self.u64("rope.dimension_count")?.unwrap_or(head_dim);
        let theta = self.f32("rope.freq_base")?.unwrap_or(10_000.0);
        Ok(Rope { theta, pairing, dims, scaling: self.scaling(dims)? })
    }

    fn scaling(&self, dims: u64) -> Result<RopeScaling, ImportError> {
        if self.gguf.tensors().contains_key(ROPE_FACTORS) {
            return self.factors(dims);
        }
        let kind = self.gguf.string(&self.name("rope.scaling.type"))?;
        match (kind, self.f32("rope.scaling.factor")?.or(self.f32("rope.scale_linear")?)) {
            (Some("none"), _) | (None, None) => Ok(RopeScaling::None),
            (None | Some("linear"), Some(factor)) if factor > 0.0 => Ok(RopeScaling::Linear { factor }),
            (kind, factor) => {
                let found = format!("{:?} with factor {factor:?}", kind.unwrap_or("linear"));
                Err(self.refuse("rope.scaling.type", found, "none or linear with a factor above 0".into()))
            }
        }
    }

    /// Llama 3's scaling comes as a tensor with a factor for each pair.
    fn factors(&self, dims: u64) -> Result<RopeScaling, ImportError> {
        let refuse = |found: String| ImportError::Tensor {
            path: self.gguf.path().into(),
            tensor: ROPE_FACTORS.into(),
            found,
            expected: format!("a finite f32 above 0 for each of {} pairs", dims / 2),
        };
        let info = &self.gguf.tensors()[ROPE_FACTORS];
        if info.dtype != DType::F32 || info.shape != [dims / 2] {
            return Err(refuse(format!("shape {:?} in {}", info.shape, info.dtype)));
        }
        let start = info.offset() as usize;
        let (elements, _) = self.gguf.map()[start..start + info.byte_len() as usize].as_chunks();
        let factors: Vec<f32> = elements.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        match factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
            Some(factor) => Err(refuse(format!("the factor {factor}"))),
            None => Ok(RopeScaling::Factors(factors)),
        }
    }

    fn window(&self, layers: u64, is_gemma: bool, rope: &Rope) -> Result<Option<Window>, ImportError> {
        let Some(tokens) = self.u64("attention.sliding_window")? else { return Ok(None) };
        let pattern = "attention.sliding_window_pattern";
        let (local, rope) = if is_gemma {
            // Newer files state the period of the pattern and the local base, older ones know.
            let period = self.u64(pattern)?.unwrap_or(GEMMA3_PATTERN);
            let theta = self.f32("rope.freq_base_swa")?.unwrap_or(GEMMA3_LOCAL_THETA);
            (local_layers(layers, period), Rope { theta, scaling: RopeScaling::None, ..rope.clone() })
        } else {
            (local_layers(layers, 0), rope.clone())
        };
        Ok(Some(Window { tokens, local, rope }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::gguf::writer::Writer;

    /// The keys of a small model, those in `without` left out.
    fn keys(architecture: &str, without: &str) -> Writer {
        let sizes = [
            ("context_length", 64),
            ("embedding_length", 8),
            ("block_count", 7),
            ("feed_forward_length", 16),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 1),
        ];
        let mut writer = Writer::default().string("general.architecture", architecture);
        for (key, size) in sizes.into_iter().filter(|(key, _)| *key != without) {
            writer = writer.u32(&format!("{architecture}.{key}"), size);
        }
        writer.f32(&format!("{architecture}.attention.layer_norm_rms_epsilon"), 1e-5)
    }

    fn small(architecture: &str) -> Writer {
        keys(architecture, "").f32_tensor("token_embd.weight", &[8, 3])
    }

    fn config(writer: &Writer) -> Result<Config, ImportError> {
        Config::from_gguf(&writer.open().unwrap())
    }

    #[test]
    fn what_a_file_does_not_say_follows_from_what_it_says() {
        let llama = config(&small("llama")).unwrap();
        assert_eq!((llama.head_dim, llama.vocab, llama.rope.dims), (4, 3, 4));
        assert_eq!((llama.attention_scale, llama.embedding_scale), (0.5, 1.0));
        assert!(llama.tied_embeddings && !llama.qkv_bias && llama.window.is_none());
        let gemma = config(&small("gemma3").u32("gemma3.attention.sliding_window", 5)).unwrap();
        let windows: Vec<_> = (0..7).map(|layer| gemma.window_of(layer)).collect();
        assert_eq!(windows, [Some(5), Some(5), Some(5), Some(5), Some(5), None, Some(5)]);
        let mixtral = config(&small("llama").u32("llama.expert_count", 8).u32("llama.expert_used_count", 2));
        let experts = Experts { count: 8, used: 2, ffn: 16, normalise: true };
        assert_eq!((mixtral.unwrap().experts, llama.experts), (Some(experts), None));
        let qwen = config(&small("qwen2").f32_tensor("blk.0.attn_q.bias", &[8])).unwrap();
        assert!(qwen.qkv_bias);
    }

    #[test]
    fn an_ill_formed_config_is_refused() {
        let is = |writer: Writer, expected: &str| {
            let found = config(&writer).unwrap_err().to_string();
            assert!(found.contains(expected), "{found}\nlacks {expected}");
        };
        is(Writer::default(), "key `general.architecture` is missing");
        is(
            small("runes"),
            "architecture \"runes\" is unknown; known are llama, mistral, mixtral, qwen2, qwen3, qwen3moe, qwen3_moe, gemma3",
        );
        is(keys("llama", ""), "tensor `token_embd.weight` is missing");
        is(
            keys("llama", "block_count").f32_tensor("token_embd.weight", &[8, 3]),
            "key `llama.block_count` is missing",
        );
        is(keys("llama", "block_count").string("llama.block_count", "7"), "expected an unsigned integer");
        is(
            small("llama").u32("llama.rope.dimension_count", 6),
            "key `llama.rope.dimension_count` is 6, expected an even number up to 4",
        );
        is(small("llama").u32("llama.attention.value_length", 8), "expected 4, as the key's");
        is(small("llama").string("llama.rope.scaling.type", "yarn"), "expected none or linear");
        is(small("llama").f32("llama.rope.freq_base", f32::NAN), "expected a finite float");
        is(
            small("llama").f32("llama.rope.freq_base", 0.0),
            "key `llama.rope.freq_base` is 0, expected a finite number above 0",
        );
        is(
            small("gemma3").f32("gemma3.final_logit_softcapping", -1.0),
            "softcapping` is -1, expected a finite",
        );
        is(
            small("llama").f32_tensor("blk.7.ffn_up.weight", &[8, 16]),
            "has layer 7, expected one of the 7 that key `llama.block_count` states",
        );
        is(
            small("llama").f32_tensor("rope_freqs.weight", &[2]),
            "has the factor 0, expected a finite f32 above 0",
        );
        is(small("llama").f32_tensor("rope_freqs.weight", &[3]), "has shape [3] in f32");
        is(small("llama").f32_tensor("blk.0.ffn_up.bias", &[16]), "tensor `blk.0.ffn_up.bias` has a bias");
        is(small("qwen3moe"), "key `qwen3moe.expert_count` is missing");
        let experts = |used| {
            let count = small("qwen3moe").u32("qwen3moe.expert_count", 4);
            count.u32("qwen3moe.expert_used_count", used)
        };
        is(experts(5), "key `qwen3moe.expert_used_count` is 5, expected 1 to 4");
        is(
            experts(2).u32("qwen3moe.expert_shared_count", 1),
            "key `qwen3moe.expert_shared_count` is 1, expected 0",
        );
        is(
            experts(2).u32("qwen3moe.expert_gating_func", 2),
            "key `qwen3moe.expert_gating_func` is 2, expected 1",
        );
        is(experts(2).f32("qwen3moe.expert_weights_scale", 2.5), "expert_weights_scale` is 2.5, expected 1");
        is(
            small("gemma3").u32("gemma3.attention.sliding_window", 0),
            "key `gemma3.attention.sliding_window` is 0",
        );
    }
}
