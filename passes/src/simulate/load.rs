//! What a plan is asked to do: prompts of some sequences, then a token of each, again and again.
use super::{Simulated, simulate};
use crate::cost::CostError;
use ir::Symbols;
use ir::plan::Plan;
use ir::topology::Topology;
use ir::work::StepSize;

/// Sequences of one length that are answered together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many.
    pub sequences: u32,
    /// Tokens of each one's prompt.
    pub prompt: u32,
}

/// What a load takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicted {
    /// Until all prompts are read, in nanoseconds.
    pub prefill_ns: f64,
    /// A token of each sequence, when that has gone on for a while, in nanoseconds.
    pub token_ns: f64,
    /// All of the prompts.
    pub prefill: Simulated,
    /// Some tokens of each sequence: [`Predicted::tokens`].
    pub decode: Simulated,
    /// How many of each.
    pub tokens: u32,
}

/// Tokens of each sequence that are simulated beyond the first.
const TOKENS: u32 = 4;

impl Load {
    /// Simulates it. The plan must have passed [`Plan::verify`] and have room for it.
    pub fn predict(&self, plan: &Plan, topology: &Topology) -> Result<Predicted, CostError> {
        let own = self.sequences.div_ceil(plan.options.partition.data.max(1)).max(1);
        let micro_batches = plan.options.micro_batches;
        let prefill = simulate(plan, topology, &prompt_rounds(plan, own, self.prompt.max(1)), micro_batches)?;
        // As many groups as can be under way, each of which goes on when its tokens are chosen.
        let groups = micro_batches.min(own).max(1);
        let size = token_round(own.div_ceil(groups), self.prompt);
        let decode = simulate(plan, topology, &vec![size; (groups * (1 + TOKENS)) as usize], groups)?;
        Ok(Predicted {
            prefill_ns: prefill.end_ns(),
            token_ns: decode.round_ns(groups as usize) * f64::from(groups),
            prefill,
            decode,
            tokens: 1 + TOKENS,
        })
    }
}

/// A token of so many sequences, behind `cached` ones.
fn token_round(sequences: u32, cached: u32) -> StepSize {
    let (n, cached) = (i64::from(sequences), u64::from(cached));
    let symbols = Symbols::of_step(n, n, 0);
    StepSize { symbols, sequences: vec![cached..cached + 1; sequences as usize] }
}

/// A replica's prompts, in steps as large as the plan has room for.
fn prompt_rounds(plan: &Plan, sequences: u32, tokens: u32) -> Vec<StepSize> {
    let most = plan.symbols.iter().find(|s| s.name == "n").map_or(1, |s| s.max.max(1)) as u64;
    let (tokens, mut rounds) = (u64::from(tokens), vec![]);
    let all = tokens * u64::from(sequences);
    let mut from = 0;
    while from < all {
        let end = all.min(from + most);
        let of = |sequence: u64| {
            let begin = sequence * tokens;
            from.max(begin) - begin..end.min(begin + tokens) - begin
        };
        let own: Vec<_> = (from / tokens..=(end - 1) / tokens).map(of).collect();
        let rows = own.iter().filter(|range| range.end == tokens).count().max(1);
        let symbols = Symbols::of_step((end - from) as i64, rows as i64, 0);
        rounds.push(StepSize { symbols, sequences: own });
        from = end;
    }
    rounds
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a sequence is a range of positions, and may be alone")]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_read_in_steps_that_may_end_one_and_begin_the_next() {
        let text = include_str!("../../../tests/golden/schedule/two_stages_share_a_tied_table.ir");
        let text = text.split_once("====\n").expect("a golden file has a rule").1;
        let plan = Plan::from_text(text).expect("a plan");
        let shown: Vec<_> = prompt_rounds(&plan, 2, 11)
            .iter()
            .map(|r| (r.symbols.get("n"), r.symbols.get("m"), r.sequences.clone()))
            .collect();
        assert_eq!(
            shown,
            [
                (Some(8), Some(1), vec![0..8]),
                (Some(8), Some(1), vec![8..11, 0..5]),
                (Some(6), Some(1), vec![5..11]),
            ]
        );
    }
}
