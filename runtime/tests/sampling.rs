//! Sampling from candidates is sampling from all logits: the same tokens, the same draws, the same errors.
use ir::ops::{Peaks, TopK};
use ir::{Op, Symbols, Tensor};
use proptest::prelude::*;
use runtime::{Row, Sampler, SamplerOptions};

const CANDIDATES: usize = 16;

/// Logits among which are many equals, both zeros, and tokens that are ruled out; rarely what is no number.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let few = (-6i8..6).prop_map(|x| f32::from(x) / 2.0);
    let any = -20.0f32..20.0;
    let odd = prop_oneof![300 => Just(-0.0), 1 => Just(f32::NAN), 1 => Just(f32::INFINITY)];
    let logit = prop_oneof![8 => few, 8 => any, 1 => odd, 3 => Just(f32::NEG_INFINITY)];
    prop::collection::vec(logit, CANDIDATES..300)
}

fn options() -> impl Strategy<Value = SamplerOptions> {
    let temperature = prop_oneof![1 => Just(0.0f32), 3 => 0.05f32..3.0];
    (temperature, 1..=CANDIDATES, 0.0f32..1.2, -0.1f32..1.2, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, min_p, seed)| SamplerOptions {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
            ..SamplerOptions::default()
        },
    )
}

/// What the device gives of the logits.
fn candidates(logits: &[f32]) -> Vec<f32> {
    let x = Tensor::f32(&[logits.len() as u64], logits);
    let eval = |op: Op, inputs: &[&Tensor]| op.eval(inputs, &Symbols::new()).expect("it has a meaning");
    let peaks = eval(Peaks { stretch: 8 }.into(), &[&x]);
    eval(TopK { k: CANDIDATES as u64, stretch: 8 }.into(), &[&x, &peaks]).to_f32()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn the_same_is_chosen_from_candidates_as_from_all_logits(
        rows in prop::collection::vec(logits(), 1..6),
        options in options(),
    ) {
        let (mut of_all, mut of_best) = (Sampler::new(options.clone()), Sampler::new(options));
        prop_assert!(!of_best.needs_whole(CANDIDATES));
        for row in rows {
            let best = candidates(&row);
            let (logits, tokens) = best.split_at(CANDIDATES);
            let best = Row::Best { logits, tokens, of: row.len() };
            // NaN is not equal to itself, its words are.
            let [all, best] = [of_all.sample(Row::Whole(&row)), of_best.sample(best)].map(|t| format!("{t:?}"));
            prop_assert_eq!(all, best);
        }
    }
}

#[test]
fn what_looks_at_more_asks_for_all_logits() {
    let needs = |options| Sampler::new(options).needs_whole(CANDIDATES);
    let plain = SamplerOptions { top_k: CANDIDATES, ..SamplerOptions::default() };
    assert!(!needs(plain.clone()) && !needs(SamplerOptions { top_k: 0, ..SamplerOptions::greedy() }));
    assert!(needs(SamplerOptions { top_k: CANDIDATES + 1, ..plain.clone() }));
    assert!(needs(SamplerOptions { top_k: 0, ..plain.clone() }));
    assert!(needs(SamplerOptions { repeat_penalty: 1.1, ..plain.clone() }));
    assert!(needs(SamplerOptions { repeat_penalty: 1.1, ..SamplerOptions::greedy() }));
    assert!(!needs(SamplerOptions { repeat_penalty: 1.1, repeat_last: 0, ..plain }));
}
