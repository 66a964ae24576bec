//! What a config must hold to before anything is computed from it.
use super::keys::Key;
use super::{Config, Experts, LAYERS_MAX};
use crate::ImportError;
use crate::import::TensorInfo;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

/// Where a config stands, and what the file calls its numbers.
struct Place<'a, N> {
    path: &'a Path,
    name: N,
}

impl Config {
    /// Refuses what no model has and arithmetic might not survive, and tensors that no architecture here
    /// would use. `name` is what the file calls a number.
    pub(super) fn checked(
        self,
        path: &Path,
        tensors: &BTreeMap<String, TensorInfo>,
        name: impl Fn(Key) -> String,
    ) -> Result<Self, ImportError> {
        let place = Place { path, name };
        place.sizes(&self)?;
        place.numbers(&self)?;
        place.tensors(&self, tensors)?;
        Ok(self)
    }
}

impl<N: Fn(Key) -> String> Place<'_, N> {
    fn sizes(&self, c: &Config) -> Result<(), ImportError> {
        let sizes = [
            (Key::Layers, c.layers, LAYERS_MAX),
            (Key::Hidden, c.hidden, 1 << 20),
            (Key::Heads, c.heads, 1 << 12),
            (Key::KvHeads, c.kv_heads, 1 << 12),
            (Key::HeadDim, c.head_dim, 1 << 12),
            (Key::Ffn, c.ffn, 1 << 22),
            (Key::Vocab, c.vocab, 1 << 24),
            (Key::ContextLength, c.context_length, 1 << 30),
        ];
        for (key, found, most) in sizes {
            if found == 0 || found > most {
                return self.refuse(key, found, format!("1 to {most}"));
            }
        }
        if let Some(experts) = &c.experts {
            let Experts { count, used, ffn, .. } = *experts;
            let sizes = [
                (Key::Experts, count, 1 << 12),
                (Key::ExpertsUsed, used, count),
                (Key::ExpertFfn, ffn, 1 << 22),
            ];
            for (key, found, most) in sizes {
                if found == 0 || found > most {
                    return self.refuse(key, found, format!("1 to {most}"));
                }
            }
        }
        if !c.heads.is_multiple_of(c.kv_heads) {
            return self.refuse(Key::KvHeads, c.kv_heads, format!("a divisor of {} heads", c.heads));
        }
        if c.rope.dims == 0 || c.rope.dims % 2 == 1 || c.rope.dims > c.head_dim {
            return self.refuse(Key::RopeDims, c.rope.dims, format!("an even number up to {}", c.head_dim));
        }
        let Some(window) = &c.window else { return Ok(()) };
        if window.tokens == 0 {
            return self.refuse(Key::Window, window.tokens, "at least 1".into());
        }
        let listed = window.local.len() as u64;
        if listed != c.layers {
            let expected = format!("one for each of {} layers", c.layers);
            return self.refuse(Key::LayerTypes, format!("a list of {listed}"), expected);
        }
        Ok(())
    }

    fn numbers(&self, c: &Config) -> Result<(), ImportError> {
        let window = c.window.as_ref().map(|window| (Key::WindowTheta, &window.rope));
        let ropes = || [(Key::RopeTheta, &c.rope)].into_iter().chain(window);
        let softcaps = [(Key::AttentionSoftcap, c.attention_softcap), (Key::FinalSoftcap, c.final_softcap)];
        let numbers = [(Key::RmsEps, c.rms_eps), (Key::AttentionScale, c.attention_scale)].into_iter();
        let numbers = numbers
            .chain(softcaps.into_iter().filter_map(|(key, found)| Some((key, found?))))
            .chain(ropes().map(|(key, rope)| (key, rope.theta)));
        for (key, found) in numbers {
            if !(found.is_finite() && found > 0.0) {
                return self.refuse(key, found, "a finite number above 0".into());
            }
        }
        for (key, rope) in ropes() {
            if !rope.frequencies().iter().all(|frequency| frequency.is_finite()) {
                return self.refuse(key, rope.theta, "a base that makes finite frequencies".into());
            }
        }
        Ok(())
    }

    fn tensors(&self, c: &Config, tensors: &BTreeMap<String, TensorInfo>) -> Result<(), ImportError> {
        let layer = |name: &str| name.strip_prefix("blk.")?.split_once('.')?.0.parse::<u64>().ok();
        let is_qkv = |name: &str| {
            ["attn_q.bias", "attn_k.bias", "attn_v.bias"].iter().any(|known| name.ends_with(known))
        };
        for name in tensors.keys() {
            let (found, expected) = match layer(name).filter(|layer| *layer >= c.layers) {
                Some(layer) => {
                    let key = (self.name)(Key::Layers);
                    (format!("layer {layer}"), format!("one of the {} that key `{key}` states", c.layers))
                }
                None if name.ends_with(".bias") && !(c.qkv_bias && is_qkv(name)) => {
                    ("a bias".into(), format!("none there in architecture {}", c.architecture))
                }
                None => continue,
            };
            return Err(ImportError::Tensor {
                path: self.path.into(),
                tensor: name.clone(),
                found,
                expected,
            });
        }
        Ok(())
    }

    fn refuse(&self, key: Key, found: impl Display, expected: String) -> Result<(), ImportError> {
        let (key, found) = ((self.name)(key), found.to_string());
        Err(ImportError::Key { path: self.path.into(), key, found, expected })
    }
}
