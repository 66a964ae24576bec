//! Rotary embeddings: which elements of a head turn together, and how fast.

/// How positions enter queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f32,
    pub pairing: Pairing,
    /// How many elements of a head turn, from its first; the others stay as they are.
    pub dims: u64,
    pub scaling: RopeScaling,
}

/// Which two elements of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// `2i` with `2i + 1`: GGUF's order for architecture `llama`.
    Adjacent,
    /// `i` with `i + dims / 2`: everybody else's.
    Halves,
}

/// How frequencies are stretched for contexts longer than those trained on.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    None,
    /// Every frequency is divided by the factor.
    Linear {
        factor: f32,
    },
    /// Llama 3's: low frequencies are divided by the factor, high ones stay, and those between are blended.
    Llama3 {
        factor: f32,
        low: f32,
        high: f32,
        original_context: f32,
    },
    /// Each frequency is divided by a factor of its own, as stored in the file.
    Factors(Vec<f32>),
}

impl Rope {
    /// The angle in radians by which each pair turns from one position to the next; `dims / 2` of them.
    pub fn frequencies(&self) -> Vec<f32> {
        let pairs = self.dims / 2;
        (0..pairs)
            .map(|i| {
                let plain = f64::from(self.theta).powf(-2.0 * i as f64 / self.dims as f64);
                self.scaling.scaled(plain, i as usize) as f32
            })
            .collect()
    }
}

impl RopeScaling {
    fn scaled(&self, frequency: f64, pair: usize) -> f64 {
        match self {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / f64::from(*factor),
            RopeScaling::Factors(factors) => frequency / factors.get(pair).map_or(1.0, |f| f64::from(*f)),
            RopeScaling::Llama3 { factor, low, high, original_context } => {
                let [factor, low, high, context] = [*factor, *low, *high, *original_context].map(f64::from);
                // How often the pair turns round within the original context.
                let turns = context * frequency / std::f64::consts::TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (kept + (1.0 - kept) / factor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(scaling: RopeScaling) -> Rope {
        Rope { theta: 10_000.0, pairing: Pairing::Halves, dims: 8, scaling }
    }

    #[test]
    fn frequencies_fall_from_one_by_powers_of_theta() {
        let plain = rope(RopeScaling::None).frequencies();
        assert_eq!(plain, [1.0, 0.1, 0.01, 0.001]);
        let linear = rope(RopeScaling::Linear { factor: 4.0 }).frequencies();
        assert_eq!(linear, [0.25, 0.025, 0.0025, 0.00025]);
        let factors = rope(RopeScaling::Factors(vec![1.0, 1.0, 2.0, 4.0])).frequencies();
        assert_eq!(factors, [1.0, 0.1, 0.005, 0.00025]);
    }

    #[test]
    fn llama3_keeps_what_turns_often_and_slows_what_turns_seldom() {
        // Within 628 tokens the four pairs turn 100, 10, 1 and 0.1 times.
        let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 19.0, original_context: 628.3185 };
        let frequencies = rope(scaling).frequencies();
        let expected = [1.0, 0.1 * (0.5 + 0.5 / 8.0), 0.01 / 8.0, 0.001 / 8.0];
        for (found, expected) in frequencies.iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 1e-5, "{found} {expected}");
        }
    }
}
