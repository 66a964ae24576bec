//! Search: by name, operator, dtype, device and pass.
use super::flow::{Node, NodeIx};
use super::matching::Fate;
use super::{Document, Role};
use std::collections::HashSet;

/// What is looked for. Words must all be found: `op:linear`, `dtype:q4_1`, `device:cpu:1` and `pass:chains` say where,
/// any other is looked for in names, operators and dtypes. Capitals do not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    words: Vec<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Any(String),
    Op(String),
    DType(String),
    Device(String),
    Pass(String),
}

/// A node that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The node.
    pub node: NodeIx,
    /// How good it is: lower is better, 0 a name in whole.
    pub rank: u8,
}

impl Query {
    /// Reads what a person typed.
    pub fn new(text: &str) -> Query {
        let word = |word: &str| {
            let word = word.to_lowercase();
            match word.split_once(':') {
                Some(("op", rest)) => Word::Op(rest.to_owned()),
                Some(("dtype", rest)) => Word::DType(rest.to_owned()),
                Some(("device", rest)) => Word::Device(rest.to_owned()),
                Some(("pass", rest)) => Word::Pass(rest.to_owned()),
                _ => Word::Any(word),
            }
        };
        Query { words: text.split_whitespace().map(word).collect() }
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

impl Document {
    /// The nodes of a pass that a query means, the best first. A pass that does not exist has none.
    pub fn search(&self, pass: usize, query: &Query) -> Vec<Hit> {
        let Some(shown) = self.passes.get(pass).filter(|_| !query.is_empty()) else { return vec![] };
        let changed: Vec<Option<HashSet<u32>>> = query
            .words
            .iter()
            .map(|word| if let Word::Pass(name) = word { Some(self.changed_by(name)) } else { None })
            .collect();
        let mut hits: Vec<Hit> = vec![];
        for node in shown.flow.indices() {
            let of = |(word, changed): (&Word, &Option<HashSet<u32>>)| {
                self.rank(word, changed.as_ref(), &shown.flow[node])
            };
            let ranks: Option<Vec<u8>> = query.words.iter().zip(&changed).map(of).collect();
            if let Some(ranks) = ranks {
                // What is computed says more than the weight that it is computed with.
                let role = u8::from(shown.flow[node].role != Role::Value);
                hits.push(Hit { node, rank: ranks.into_iter().max().unwrap_or(0) * 2 + role });
            }
        }
        hits.sort_by_key(|hit| (hit.rank, hit.node));
        hits
    }

    /// How well a node fits a word; none where it does not.
    fn rank(&self, word: &Word, changed: Option<&HashSet<u32>>, node: &Node) -> Option<u8> {
        let dtype = || node.ty.as_ref().map_or("", |ty| ty.dtype.name());
        let fits = |is: bool| is.then_some(0);
        match word {
            Word::Op(op) => fits(node.op.contains(op.as_str())),
            Word::DType(name) => fits(dtype() == name),
            Word::Device(name) => fits(self.device(node.device).to_lowercase() == *name),
            Word::Pass(_) => fits(changed.is_some_and(|of| node.stands_for.iter().any(|id| of.contains(id)))),
            Word::Any(text) => {
                let title = node.title().to_lowercase();
                let last = title.rsplit('.').next().unwrap_or_default();
                match () {
                    () if title == *text => Some(0),
                    () if last == text => Some(1),
                    () if title.contains(text.as_str()) => Some(2),
                    () if node.op.contains(text.as_str()) || dtype() == text => Some(3),
                    () => None,
                }
            }
        }
    }

    /// The reference nodes of what passes of that name added, changed or removed.
    fn changed_by(&self, name: &str) -> HashSet<u32> {
        let mut changed = HashSet::new();
        for at in (1..self.passes.len()).filter(|at| self.passes[*at].name.to_lowercase().contains(name)) {
            let (before, after) = (&self.passes[at - 1].flow, &self.passes[at]);
            let Some(change) = &after.change else { continue };
            let differs = |node: &NodeIx| change.fates[node.at()] != Fate::Same;
            let now = after.flow.indices().filter(differs).map(|node| &after.flow[node]);
            let all = now.chain(change.removed.iter().map(|node| &before[*node]));
            changed.extend(all.flat_map(|node| node.stands_for.iter().copied()));
        }
        changed
    }
}
