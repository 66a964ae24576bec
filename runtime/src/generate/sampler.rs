//! Chooses the next token from logits, or from the greatest of them: repeat penalty, top-k, top-p, min-p, temperature, then the draw, in the
//! order and with the meanings that users of llama.cpp know.
//!
//! The same seed, options and logits give the same tokens. Equal logits rank by token id, lower first.
use crate::answers::Row;
use std::collections::VecDeque;

/// How to choose. The default is llama.cpp's, with a fixed seed.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits before the draw; 0 or less takes the most likely token and draws nothing.
    pub temperature: f32,
    /// Keeps this many of the most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the fewest most likely tokens whose probabilities sum to this; 1 or more keeps all.
    pub top_p: f32,
    /// Keeps tokens at least this fraction as likely as the most likely; 0 or less keeps all.
    pub min_p: f32,
    /// Makes tokens seen lately less likely: positive logits are divided by it, others multiplied; 1 is off.
    pub repeat_penalty: f32,
    /// How many of the latest tokens the penalty looks at.
    pub repeat_last: usize,
    /// Where the random numbers begin.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        SamplerOptions {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last: 64,
            seed: 0,
        }
    }
}

impl SamplerOptions {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        SamplerOptions { temperature: 0.0, ..Self::default() }
    }
}

/// Why logits give no token.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A logit is NaN or infinite upwards; an infinitely small one merely rules its token out.
    #[error("the logit of token {token} is {found}, expected a number below infinity")]
    NotANumber {
        /// The first such token.
        token: u32,
        /// Its logit.
        found: f32,
    },
    /// There are no logits, or every token is ruled out.
    #[error("found no possible token among {0} logits")]
    NoToken(usize),
}

/// Chooses tokens for one sequence. Allocates for the first token and not after.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    random: Xoshiro,
    recent: VecDeque<u32>,
    candidates: Vec<Candidate>,
}

/// A token that may be chosen. Its weight is a logit first, and a probability to a constant factor later.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    token: u32,
    weight: f32,
}

impl Sampler {
    /// A sampler that has seen no token yet.
    pub fn new(options: SamplerOptions) -> Sampler {
        let random = Xoshiro::new(options.seed);
        Sampler { options, random, recent: VecDeque::new(), candidates: Vec::new() }
    }

    /// Tells of a token of the prompt or of the answer, for the repeat penalty.
    pub fn accept(&mut self, token: u32) {
        if !self.penalises() {
            return;
        }
        if self.recent.len() == self.options.repeat_last {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
    }

    /// Whether all logits are needed, and so many of the greatest do not do: the same is chosen from either.
    pub fn needs_whole(&self, candidates: usize) -> bool {
        self.kept() > candidates || self.penalises()
    }

    /// How many of the most likely tokens are looked at.
    fn kept(&self) -> usize {
        match (self.options.temperature <= 0.0, self.options.top_k) {
            (true, _) => 1,
            (false, 0) => usize::MAX,
            (false, k) => k,
        }
    }

    fn penalises(&self) -> bool {
        self.options.repeat_penalty != 1.0 && self.options.repeat_last > 0
    }

    /// Chooses the token to follow where this is known: all logits where [`Sampler::needs_whole`] says so. Does not
    /// [`Sampler::accept`] it.
    pub fn sample(&mut self, row: Row<'_>) -> Result<u32, SampleError> {
        let kept = self.kept();
        let vocabulary = match row {
            Row::Whole(logits) => {
                self.collect(logits, kept)?;
                self.candidates.sort_unstable_by(by_rank);
                logits.len()
            }
            Row::Best { logits, tokens, of } => {
                self.copy(logits, tokens, kept)?;
                of
            }
        };
        let Some(best) = self.candidates.first().copied() else {
            return Err(SampleError::NoToken(vocabulary));
        };
        if kept == 1 {
            return Ok(best.token);
        }
        self.top_p(best.weight);
        self.min_p(best.weight);
        Ok(self.draw(best))
    }

    /// Makes the first `kept` of the greatest logits' tokens the candidates, in their order.
    fn copy(&mut self, logits: &[f32], tokens: &[f32], kept: usize) -> Result<(), SampleError> {
        self.candidates.clear();
        for (&weight, &token) in logits.iter().zip(tokens).take(kept) {
            let token = token as u32;
            if weight.is_nan() || weight == f32::INFINITY {
                return Err(SampleError::NotANumber { token, found: weight });
            }
            if weight > f32::NEG_INFINITY {
                self.candidates.push(Candidate { token, weight });
            }
        }
        Ok(())
    }

    /// Makes the `kept` most likely tokens the candidates, in any order.
    ///
    /// Logits are looked at by stretches: most have none that comes near the candidates found before.
    fn collect(&mut self, logits: &[f32], kept: usize) -> Result<(), SampleError> {
        const STRETCH: usize = 256;
        self.candidates.clear();
        self.penalise(logits);
        let mut least = f32::NEG_INFINITY;
        for (at, stretch) in logits.chunks(STRETCH).enumerate() {
            let first = (at * STRETCH) as u32;
            let most = greatest(stretch).ok_or_else(|| not_a_number(first, stretch))?;
            if most < least || most == f32::NEG_INFINITY {
                continue;
            }
            for (token, &weight) in (first..).zip(stretch) {
                if weight >= least && weight > f32::NEG_INFINITY && !self.recent.contains(&token) {
                    self.candidates.push(Candidate { token, weight });
                }
            }
            if self.candidates.len() >= kept.saturating_add(STRETCH) {
                least = self.keep(kept);
            }
        }
        self.keep(kept);
        Ok(())
    }

    /// Makes the tokens seen lately candidates, each once, with what the penalty leaves of their logits.
    fn penalise(&mut self, logits: &[f32]) {
        let by = self.options.repeat_penalty;
        for &token in &self.recent {
            let Some(&logit) = logits.get(token as usize) else { continue };
            let weight = if logit > 0.0 { logit / by } else { logit * by };
            if weight > f32::NEG_INFINITY && self.candidates.iter().all(|c| c.token != token) {
                self.candidates.push(Candidate { token, weight });
            }
        }
    }

    /// Keeps the `kept` most likely candidates, and gives the least of their weights.
    fn keep(&mut self, kept: usize) -> f32 {
        if kept >= self.candidates.len() {
            return f32::NEG_INFINITY;
        }
        let (_, last, _) = self.candidates.select_nth_unstable_by(kept - 1, by_rank);
        let least = last.weight;
        self.candidates.truncate(kept);
        least
    }

    /// Keeps the fewest candidates that together have the probability `top_p`; always the first.
    fn top_p(&mut self, best: f32) {
        if self.options.top_p >= 1.0 {
            return;
        }
        let likelihood = |c: &Candidate| f64::from(c.weight - best).exp();
        let wanted = f64::from(self.options.top_p) * self.candidates.iter().map(likelihood).sum::<f64>();
        let mut sum = 0.0;
        let enough = self.candidates.iter().position(|c| {
            sum += likelihood(c);
            sum >= wanted
        });
        self.candidates.truncate(enough.map_or(self.candidates.len(), |last| last + 1));
    }

    /// Keeps candidates whose probability is at least `min_p` of the first one's; always the first.
    fn min_p(&mut self, best: f32) {
        if self.options.min_p > 0.0 {
            let least = best + self.options.min_p.min(1.0).ln();
            let kept = self.candidates.partition_point(|c| c.weight >= least);
            self.candidates.truncate(kept.max(1));
        }
    }

    /// Draws a candidate with the probability that its logit gives it at this temperature.
    fn draw(&mut self, best: Candidate) -> u32 {
        let mut sum = 0.0;
        for candidate in &mut self.candidates {
            candidate.weight = ((candidate.weight - best.weight) / self.options.temperature).exp();
            sum += f64::from(candidate.weight);
        }
        let mut left = self.random.unit() * sum;
        for candidate in &self.candidates {
            left -= f64::from(candidate.weight);
            if left < 0.0 {
                return candidate.token;
            }
        }
        // Only rounding leads here.
        best.token
    }
}

/// The greatest of some logits; none if one is NaN or infinite upwards.
fn greatest(logits: &[f32]) -> Option<f32> {
    const LANES: usize = 16;
    let (mut most, mut sound) = ([f32::NEG_INFINITY; LANES], [true; LANES]);
    let (whole, rest) = logits.as_chunks::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            most[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
            sound[lane] &= chunk[lane] < f32::INFINITY;
        }
    }
    let sound = sound.iter().all(|&sound| sound) && rest.iter().all(|&logit| logit < f32::INFINITY);
    sound.then(|| most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, &logit| most.max(logit)))
}

/// The error of logits, the first of them that of token `first`, of which one is no possible logit.
fn not_a_number(first: u32, logits: &[f32]) -> SampleError {
    let found = (first..).zip(logits).find(|(_, logit)| logit.is_nan() || **logit == f32::INFINITY);
    let (token, found) = found.map_or((first, f32::NAN), |(token, logit)| (token, *logit));
    SampleError::NotANumber { token, found }
}

/// Greater logits first, then lower ids; zeros of either sign are equal.
fn by_rank(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    (b.weight + 0.0).total_cmp(&(a.weight + 0.0)).then(a.token.cmp(&b.token))
}

/// xoshiro256++ of Blackman and Vigna, its state filled from the seed by splitmix64, as they advise.
#[derive(Clone, Debug)]
struct Xoshiro([u64; 4]);

impl Xoshiro {
    fn new(mut seed: u64) -> Xoshiro {
        Xoshiro(std::array::from_fn(|_| {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0.0 .. 1.0`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Draws without any cut.
    const PLAIN: SamplerOptions = SamplerOptions {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repeat_penalty: 1.0,
        repeat_last: 64,
        seed: 1,
    };

    /// How often each token is drawn in 4,000 draws.
    fn counts(options: SamplerOptions, logits: &[f32]) -> Vec<usize> {
        let mut sampler = Sampler::new(options);
        let mut counts = vec![0; logits.len()];
        for _ in 0..4000 {
            counts[sampler.sample(Row::Whole(logits)).unwrap() as usize] += 1;
        }
        counts
    }

    fn logits(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // The first output of xoshiro256++ from the state 1, 2, 3, 4 is rotl(1 + 4, 23) + 1.
        let mut random = Xoshiro([1, 2, 3, 4]);
        assert_eq!([random.next(), random.next()], [41943041, 58720359]);
        // The first output of splitmix64 from 0.
        assert_eq!(Xoshiro::new(0).0[0], 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn the_most_likely_are_those_of_a_full_sort() {
        let mut random = Xoshiro::new(3);
        // Few different values, so that there are ties; every fifth token is ruled out.
        let value = |random: &mut Xoshiro| (random.next() % 50) as f32 - 25.0;
        let mut logits: Vec<f32> = (0..3000).map(|_| value(&mut random)).collect();
        logits.iter_mut().step_by(5).for_each(|logit| *logit = f32::NEG_INFINITY);
        for (kept, repeat_penalty) in
            [(1, 1.0), (1, 1.5), (7, 1.0), (40, 0.5), (40, 1.5), (2990, 1.1), (usize::MAX, 1.1)]
        {
            let mut sampler = Sampler::new(SamplerOptions { repeat_penalty, ..SamplerOptions::default() });
            let mut penalised = logits.clone();
            for token in [11, 17, 2999, 11, 405] {
                sampler.accept(token as u32);
                let logit = logits[token];
                penalised[token] = if logit > 0.0 { logit / repeat_penalty } else { logit * repeat_penalty };
            }
            let all = (0..).zip(penalised).filter(|(_, weight)| *weight > f32::NEG_INFINITY);
            let mut all: Vec<_> = all.map(|(token, weight)| Candidate { token, weight }).collect();
            all.sort_by(by_rank);
            all.truncate(kept);
            sampler.collect(&logits, kept).unwrap();
            sampler.candidates.sort_by(by_rank);
            let tokens = |all: &[Candidate]| -> Vec<u32> { all.iter().map(|c| c.token).collect() };
            assert_eq!(tokens(&sampler.candidates), tokens(&all), "{kept} of a penalty of {repeat_penalty}");
        }
    }

    #[test]
    fn greedy_takes_the_first_of_the_greatest() {
        let mut sampler = Sampler::new(SamplerOptions::greedy());
        assert_eq!(sampler.sample(Row::Whole(&[0.0, 3.0, -1.0, 3.0])), Ok(1));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let counts = counts(PLAIN, &logits(&[0.1, 0.6, 0.3]));
        assert!(counts[0].abs_diff(400) < 80 && counts[1].abs_diff(2400) < 120, "{counts:?}");
    }

    #[test]
    fn temperature_sharpens() {
        // At one half, probabilities are squared: 1 : 36 : 9.
        let counts = counts(SamplerOptions { temperature: 0.5, ..PLAIN }, &logits(&[0.1, 0.6, 0.3]));
        assert!(counts[1].abs_diff(4000 * 36 / 46) < 120, "{counts:?}");
    }

    #[test]
    fn cuts_keep_what_they_say() {
        let logits = logits(&[0.05, 0.5, 0.15, 0.3]);
        let kept = |options| counts(options, &logits).iter().map(|n| usize::from(*n > 0)).collect::<Vec<_>>();
        assert_eq!(kept(PLAIN), [1, 1, 1, 1]);
        assert_eq!(kept(SamplerOptions { top_k: 2, ..PLAIN }), [0, 1, 0, 1]);
        assert_eq!(kept(SamplerOptions { top_p: 0.75, ..PLAIN }), [0, 1, 0, 1]);
        assert_eq!(kept(SamplerOptions { top_p: 0.85, ..PLAIN }), [0, 1, 1, 1]);
        assert_eq!(kept(SamplerOptions { top_p: 0.0, ..PLAIN }), [0, 1, 0, 0]);
        assert_eq!(kept(SamplerOptions { min_p: 0.2, ..PLAIN }), [0, 1, 1, 1]);
        assert_eq!(kept(SamplerOptions { min_p: 7.0, ..PLAIN }), [0, 1, 0, 0]);
    }

    #[test]
    fn cuts_come_before_temperature() {
        // At temperature 100 all four would pass min-p, were it applied after.
        let options = SamplerOptions { min_p: 0.5, temperature: 100.0, ..PLAIN };
        assert_eq!(counts(options, &logits(&[0.05, 0.5, 0.15, 0.3]))[0], 0);
    }

    #[test]
    fn a_repeated_token_is_penalised_once_and_forgotten_in_time() {
        let options = SamplerOptions { repeat_penalty: 2.0, repeat_last: 2, ..SamplerOptions::greedy() };
        let mut sampler = Sampler::new(options);
        let logits = [3.0, 2.0, -1.0];
        sampler.accept(0);
        assert_eq!(sampler.sample(Row::Whole(&logits)), Ok(1), "3.0 / 2 is below 2.0");
        sampler.accept(0);
        assert_eq!(sampler.sample(Row::Whole(&[5.0, 2.0, -1.0])), Ok(0), "5.0 / 2 / 2 would be below 2.0");
        sampler.accept(2);
        sampler.accept(2);
        assert_eq!(sampler.sample(Row::Whole(&logits)), Ok(0));
        assert_eq!(sampler.sample(Row::Whole(&[-3.0, -3.0, -2.0])), Ok(0), "-2.0 * 2 is below -3.0");
    }

    #[test]
    fn the_seed_decides() {
        let draw = |seed| {
            let mut sampler = Sampler::new(SamplerOptions { seed, ..PLAIN });
            (0..32).map(|_| sampler.sample(Row::Whole(&[0.0; 100])).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    fn broken_logits_are_refused() {
        let mut sampler = Sampler::new(SamplerOptions::default());
        let error = sampler.sample(Row::Whole(&[0.0, f32::NAN, f32::NAN])).unwrap_err();
        assert!(matches!(error, SampleError::NotANumber { token: 1, .. }));
        assert_eq!(error.to_string(), "the logit of token 1 is NaN, expected a number below infinity");
        assert!(matches!(
            sampler.sample(Row::Whole(&[f32::INFINITY])),
            Err(SampleError::NotANumber { token: 0, .. })
        ));
        assert_eq!(sampler.sample(Row::Whole(&[f32::NEG_INFINITY; 2])), Err(SampleError::NoToken(2)));
        assert_eq!(sampler.sample(Row::Whole(&[])), Err(SampleError::NoToken(0)));
        assert_eq!(sampler.sample(Row::Whole(&[f32::NEG_INFINITY, 1.0])), Ok(1));
    }
}
