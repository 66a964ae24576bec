//! The rounds of a run: what each was for, and when by the cost model it should have done what.
use super::events::Stretch;
use ir::plan::{Plan, Step};
use ir::topology::Topology;
use ir::work::StepSize;
use passes::cost::CostError;
use passes::simulate::{Span, simulate};
use runtime::{HostDeed, Record};
use std::collections::{BTreeMap, HashMap};

/// By replica and number what rounds were fed.
pub(super) struct Rounds(HashMap<(usize, u64), Fed>);

/// What a round was for.
pub(super) struct Fed {
    pub(super) name: String,
    pub(super) size: StepSize,
    pub(super) began_ns: u64,
}

impl Rounds {
    /// `prompt` is how many tokens the prompt has.
    pub(super) fn of(record: &Record, prompt: u64) -> Rounds {
        let fed = |deed: &HostDeed| {
            let size = deed.fed.clone()?;
            let (name, began_ns) = (name(&size, prompt), deed.began_ns);
            Some(((deed.replica, deed.round), Fed { name, size, began_ns }))
        };
        Rounds(record.host.iter().filter_map(fed).collect())
    }

    pub(super) fn get(&self, replica: usize, round: u64) -> Option<&Fed> {
        self.0.get(&(replica, round))
    }
}

/// `prefill of 38 tokens`, `decode of token 39`.
fn name(size: &StepSize, prompt: u64) -> String {
    let tokens: u64 = size.sequences.iter().map(|range| range.end - range.start).sum();
    let first = size.sequences.iter().map(|range| range.start).min().unwrap_or(0);
    match (first < prompt, first) {
        (true, 0) => format!("prefill of {tokens} tokens"),
        (true, _) => format!("prefill of {tokens} tokens behind {first}"),
        (false, _) => format!("decode of token {}", first + 1),
    }
}

/// When the threads of the first replica should have done what; the trace's one sequence is there.
pub(super) struct Predicted {
    /// Kernels and waits, by thread, round and step.
    pub(super) spans: BTreeMap<(usize, u64, usize), Stretch>,
    /// From when a round is fed until its logits are there.
    pub(super) rounds: BTreeMap<u64, Stretch>,
}

impl Predicted {
    /// Simulates the rounds that were fed. What was under way together is so here too, and begins when it began, or
    /// when what comes before it is over.
    pub(super) fn of(plan: &Plan, topology: &Topology, record: &Record) -> Result<Predicted, CostError> {
        let mut predicted = Predicted { spans: BTreeMap::new(), rounds: BTreeMap::new() };
        let mut free_ns = 0;
        for group in groups(record) {
            let Some((_, _, began_ns)) = group.first() else { continue };
            let sizes: Vec<StepSize> = group.iter().map(|(_, size, _)| size.clone()).collect();
            let found = simulate(plan, topology, &sizes, plan.options.micro_batches)?;
            let start_ns = free_ns.max(*began_ns);
            let at = |from_ns: f64, to_ns: f64| Stretch {
                begin_ns: start_ns + from_ns.round() as u64,
                end_ns: start_ns + to_ns.round() as u64,
            };
            let is_shown = |span: &&Span| {
                let thread = &plan.threads[span.thread];
                let takes = span.ns > 0.0 || matches!(thread.steps[span.step], Step::Run { .. });
                takes && plan.replica_of(thread.device) == 0
            };
            for span in found.spans.iter().filter(is_shown) {
                let key = (span.thread, group[span.round].0, span.step);
                predicted.spans.insert(key, at(span.start_ns, span.start_ns + span.ns));
            }
            for (index, (round, ..)) in group.iter().enumerate() {
                let before = index.checked_sub(plan.options.micro_batches as usize);
                let fed_ns = before.map_or(0.0, |before| found.finished_ns[before]);
                predicted.rounds.insert(*round, at(fed_ns, found.finished_ns[index]));
            }
            free_ns = at(0.0, found.end_ns()).end_ns;
        }
        Ok(predicted)
    }
}

/// The rounds of the first replica, with their sizes and when they were fed, by what was under way together.
fn groups(record: &Record) -> Vec<Vec<(u64, StepSize, u64)>> {
    let mut groups: Vec<Vec<_>> = vec![];
    let mut under_way = 0;
    for deed in record.host.iter().filter(|deed| deed.replica == 0) {
        match &deed.fed {
            None => under_way -= 1,
            Some(size) => {
                let round = (deed.round, size.clone(), deed.began_ns);
                match groups.last_mut().filter(|_| under_way > 0) {
                    Some(group) => group.push(round),
                    None => groups.push(vec![round]),
                }
                under_way += 1;
            }
        }
    }
    groups
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a sequence is a range of positions, and may be alone")]
mod tests {
    use super::*;
    use ir::Symbols;

    fn deed(round: u64, fed: Option<std::ops::Range<u64>>) -> HostDeed {
        let fed = fed.map(|range| StepSize { symbols: Symbols::new(), sequences: vec![range] });
        HostDeed { replica: 0, round, fed, began_ns: round, ended_ns: round }
    }

    #[test]
    fn rounds_are_named_and_grouped_by_what_is_under_way() {
        let host = vec![
            deed(0, Some(0..8)),
            deed(1, Some(8..11)),
            deed(0, None),
            deed(1, None),
            deed(2, Some(11..12)),
            deed(2, None),
            deed(3, Some(12..13)),
            deed(3, None),
        ];
        let record = Record { threads: vec![], host };
        let rounds = Rounds::of(&record, 11);
        let name = |round| rounds.get(0, round).unwrap().name.as_str();
        assert_eq!(name(0), "prefill of 8 tokens");
        assert_eq!(name(1), "prefill of 3 tokens behind 8");
        assert_eq!(name(2), "decode of token 12");
        let numbers = |group: &Vec<(u64, StepSize, u64)>| group.iter().map(|r| r.0).collect::<Vec<_>>();
        assert_eq!(groups(&record).iter().map(numbers).collect::<Vec<_>>(), [vec![0, 1], vec![2], vec![3]]);
    }
}
