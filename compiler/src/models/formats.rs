//! Weights that a person wants in another format than the file has them in.
//!
//! This is no pass. Passes keep what a graph means, and rounding weights anew does not: so a model's graph has them
//! as they were asked for from the first, and whatever is cut, packed, predicted or held to it follows.
use ir::DType;
use ir::plan::{Hint, Pattern};
use passes::partition::HintError;

/// What hints say of the formats of weights.
pub(super) struct Formats<'a> {
    asked: Vec<Asked<'a>>,
}

struct Asked<'a> {
    /// Which hint of the options.
    hint: usize,
    weights: &'a Pattern,
    format: DType,
}

impl<'a> Formats<'a> {
    pub(super) fn of(hints: &'a [Hint]) -> Formats<'a> {
        let asked = hints.iter().enumerate().filter_map(|(hint, said)| match said {
            Hint::Format { weights, format } => Some(Asked { hint, weights, format: *format }),
            _ => None,
        });
        Formats { asked: asked.collect() }
    }

    /// The dtype in which the graph has a weight that the file has as `own`. Vectors stay as they are.
    pub(super) fn dtype(&self, name: &str, own: DType, shape: &[u64]) -> Result<DType, HintError> {
        let mut meant = self.asked.iter().filter(|asked| asked.weights.matches(name));
        let (Some(first), [_, .., cols]) = (meant.next(), shape) else { return Ok(own) };
        let format = first.format;
        if let Some(other) = meant.find(|other| other.format != format) {
            let reason = format!("{name} cannot be both {format} and {}", other.format);
            return Err(HintError { hints: vec![first.hint, other.hint], reason });
        }
        if format.bytes(*cols).is_none() {
            let fits = Hint::FORMATS.into_iter().filter(|other| other.bytes(*cols).is_some());
            let fits: Vec<&str> = fits.map(DType::name).collect();
            let reason = format!(
                "{name} has rows of {cols}, which are no whole blocks of {format}, of {} each; {} would fit",
                format.block_len(),
                fits.join(", ")
            );
            return Err(HintError { hints: vec![first.hint], reason });
        }
        Ok(format)
    }

    /// Refuses a hint that means no matrix among a model's weights: their names, and whether they are matrices of its
    /// file. The output can be one with the embedding.
    pub(super) fn check(&self, weights: &[(&str, bool)], is_tied: bool) -> Result<(), HintError> {
        for Asked { hint, weights: pattern, .. } in &self.asked {
            let refuse = |reason| Err(HintError { hints: vec![*hint], reason });
            let mut meant = weights.iter().filter(|(name, _)| pattern.matches(name));
            let Some((first, _)) = meant.clone().next() else {
                let near = ir::near::nearest(pattern.text(), weights.iter().map(|(name, _)| *name));
                let tied = match is_tied && pattern.matches("output.weight") {
                    true => ", and the output is one with token_embd.weight",
                    false => "",
                };
                return refuse(format!(
                    "no weight is called {}; the nearest are {}{tied}",
                    pattern.text(),
                    near.join(", ")
                ));
            };
            if !meant.any(|(_, is_matrix)| *is_matrix) {
                return refuse(format!(
                    "{} means {first}, which is no matrix of the file: vectors and tables stay as they are",
                    pattern.text()
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::quant::Format;

    const Q8: DType = DType::Quant(Format::Q8_0);

    fn hints(said: &str) -> Vec<Hint> {
        Hint::read(&format!("(hints: [{said}])")).unwrap().into_iter().map(|(_, hint)| hint).collect()
    }

    #[test]
    fn matrices_are_in_the_format_that_was_asked_for_and_vectors_as_the_file_has_them() {
        let hints = hints(
            "Whole(nodes: \"*\"), Format(weights: \"*.ffn_up\", format: \"q8_0\"), Format(weights: \"blk.0\", format: \"q8_0\")",
        );
        let of = |name: &str, shape: &[u64]| Formats::of(&hints).dtype(name, DType::F16, shape).unwrap();
        assert_eq!(of("blk.0.ffn_up.weight", &[8, 64]), Q8);
        assert_eq!(of("blk.1.ffn_up.weight", &[2, 8, 64]), Q8);
        assert_eq!(of("blk.1.ffn_down.weight", &[8, 64]), DType::F16);
        assert_eq!(of("blk.0.ffn_norm.weight", &[64]), DType::F16);
    }

    #[test]
    fn what_cannot_be_is_refused_by_hint() {
        let refused = |said: &str, cols: u64| {
            let hints = hints(said);
            let formats = Formats::of(&hints);
            let dtype = formats.dtype("blk.0.q.weight", DType::F16, &[8, cols]);
            let weights =
                [("blk.0.q.weight", true), ("blk.0.norm.weight", false), ("token_embd.weight", true)];
            dtype.and_then(|_| formats.check(&weights, true)).unwrap_err().to_string()
        };
        let q = |weights: &str, format: &str| format!("Format(weights: {weights:?}, format: {format:?})");
        let both = [q("blk.0", "q8_0"), q("*.norm", "q4_0"), q("*.q", "f16")].join(",");
        assert_eq!(refused(&both, 64), "hints 1 and 3: blk.0.q.weight cannot be both q8_0 and f16");
        assert_eq!(
            refused(&q("*.q", "q4_k"), 64),
            "hint 1: blk.0.q.weight has rows of 64, which are no whole blocks of q4_k, of 256 each; f32, f16, bf16, \
             q4_0, q4_1, q5_0, q5_1, q8_0, iq4_nl would fit"
        );
        assert_eq!(
            refused(&q("blk.0.p", "q8_0"), 64),
            "hint 1: no weight is called blk.0.p; the nearest are blk.0.q.weight, blk.0.norm.weight, token_embd.weight"
        );
        assert!(refused(&q("output", "q8_0"), 64).ends_with("and the output is one with token_embd.weight"));
        assert_eq!(
            refused(&q("*norm", "q8_0"), 64),
            "hint 1: *norm means blk.0.norm.weight, which is no matrix of the file: vectors and tables stay as they are"
        );
    }
}
