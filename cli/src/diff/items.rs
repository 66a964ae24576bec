//! What two plans or graphs have by name, and which of it differs.
use ir::plan::{Arg, Plan, Step};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Names with what they stand for, in order.
pub(super) type Items = Vec<(String, String)>;

/// Lines with `-`, `+` for what only one side has, both for what both have and differs.
pub(super) fn difference(a: &Items, b: &Items) -> Vec<String> {
    differing(a, b).iter().flat_map(|one| one.lines(&[])).collect()
}

/// The same; what differs alike in layer after layer is said once.
pub(super) fn difference_by_layers(a: &Items, b: &Items) -> Vec<String> {
    let mut all: Vec<(Differs, Vec<u64>)> = vec![];
    let mut known: HashMap<Differs, usize> = HashMap::new();
    for one in differing(a, b) {
        let (alike, layer) = one.without_layer();
        match known.get(&alike).filter(|_| layer.is_some()) {
            Some(at) => all[*at].1.extend(layer),
            None => {
                known.insert(alike.clone(), all.len());
                all.push((alike, layer.into_iter().collect()));
            }
        }
    }
    all.into_iter().flat_map(|(differs, layers)| differs.lines(&layers)).collect()
}

/// An item that differs; in its texts [`LAYER`] can stand for a number.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Differs {
    name: String,
    before: Option<String>,
    after: Option<String>,
}

/// Stands for the number of a layer.
const LAYER: &str = "\u{1}";

fn differing(a: &Items, b: &Items) -> Vec<Differs> {
    let [in_a, in_b] = [a, b].map(|items| items.iter().map(|(k, v)| (k, v)).collect::<HashMap<_, _>>());
    let of = |name: &String| Differs {
        name: name.clone(),
        before: in_a.get(name).map(|value| (*value).clone()),
        after: in_b.get(name).map(|value| (*value).clone()),
    };
    let only_b = b.iter().filter(|(name, _)| !in_a.contains_key(name));
    let all = a.iter().chain(only_b).map(|(name, _)| of(name));
    all.filter(|item| item.before != item.after).collect()
}

impl Differs {
    fn without_layer(self) -> (Differs, Option<u64>) {
        let Some((_, layer, _)) = split(&self.name) else { return (self, None) };
        let (number, none) = (format!(".{layer}."), format!(".{LAYER}."));
        let without = |text: String| text.replace(&number, &none);
        let Differs { name, before, after } = self;
        let alike = Differs { name: without(name), before: before.map(without), after: after.map(without) };
        (alike, Some(layer))
    }

    fn lines(&self, layers: &[u64]) -> Vec<String> {
        let numbers = if layers.is_empty() { vec![String::new()] } else { ranges(layers) };
        let sides = [('-', &self.before), ('+', &self.after)];
        let line = |number: &String, sign: char, value: &String| {
            format!("{sign} {}: {value}", self.name).replace(LAYER, number)
        };
        let of = |number: &String| {
            let sides =
                sides.into_iter().filter_map(|(sign, value)| Some(line(number, sign, value.as_ref()?)));
            sides.collect::<Vec<_>>()
        };
        numbers.iter().flat_map(of).collect()
    }
}

/// A name as what is before the number of its layer, the number, and what is behind.
pub(super) fn split(name: &str) -> Option<(&str, u64, &str)> {
    let at = ["blk.", "kv."].into_iter().find_map(|word| Some(name.find(word)? + word.len()))?;
    let digits = name[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len() - at);
    let (number, tail) = name[at..].split_at(digits);
    Some((&name[..at], number.parse().ok()?, tail.strip_prefix('.')?))
}

/// Numbers as patterns write them: `3`, `{5..9}`.
pub(super) fn ranges(numbers: &[u64]) -> Vec<String> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    let mut runs: Vec<(u64, u64)> = vec![];
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let written = |(a, b): (u64, u64)| if a == b { a.to_string() } else { format!("{{{a}..{b}}}") };
    runs.into_iter().map(written).collect()
}

/// Tells apart what shares a name, in order: `x`, `x #2`.
#[derive(Default)]
pub(super) struct Unique(BTreeMap<String, usize>);

impl Unique {
    pub(super) fn name(&mut self, name: &str) -> String {
        let count = self.0.entry(name.to_owned()).or_default();
        *count += 1;
        if *count == 1 { name.to_owned() } else { format!("{name} #{count}") }
    }
}

/// What is in a plan, wherever it runs and however it gets there.
pub(super) fn of(plan: &Plan) -> Items {
    let mut unique = Unique::default();
    let mut items: Items = vec![];
    let mut put = |name: String, value: String| items.push((unique.name(&name), value));
    fields(&plan.model).into_iter().for_each(|(name, value)| put(format!("model {name}"), value));
    fields(&plan.options).into_iter().for_each(|(name, value)| put(format!("option {name}"), value));
    plan.symbols.iter().for_each(|s| put(format!("symbol {}", s.name), json(s)));
    plan.devices.iter().for_each(|d| put(format!("device {}", d.name), json(d)));
    for w in &plan.weights {
        put(format!("weight {}", w.name), format!("{}, {}, {} bytes", w.ty, w.layout, w.bytes));
    }
    for s in &plan.states {
        put(format!("state {}", s.name), format!("{}, {} bytes", s.ty, s.bytes));
    }
    for thread in &plan.threads {
        for step in &thread.steps {
            if let Some((name, value)) = step_item(plan, step) {
                put(name, value);
            }
        }
    }
    items
}

/// A step by its node, with its kernel and what its arguments are; none of what only moves messages.
fn step_item(plan: &Plan, step: &Step) -> Option<(String, String)> {
    let Step::Run { kernel, args, node } = step else { return None };
    let argument = |arg: &Arg| match arg {
        Arg::W(id) => plan.weights.get(id.0 as usize).map_or_else(|| id.to_string(), |w| w.name.clone()),
        Arg::S(id) => plan.states.get(id.0 as usize).map_or_else(|| id.to_string(), |s| s.name.clone()),
        Arg::B(id) => plan.buffers.get(id.0 as usize).map_or_else(|| id.to_string(), |b| b.ty.to_string()),
    };
    let arguments: Vec<String> = args.iter().map(argument).collect();
    let kernel = plan.kernels.get(kernel.0 as usize);
    let kernel = kernel.map_or_else(String::new, |k| format!("{} {{{}}}", k.name, k.op.1));
    Some((format!("step {node}"), format!("{kernel}({})", arguments.join(", "))))
}

/// The fields of a record, each as JSON.
fn fields(record: &impl Serialize) -> Vec<(String, String)> {
    match serde_json::to_value(record) {
        Ok(serde_json::Value::Object(fields)) => {
            fields.into_iter().map(|(name, value)| (name, value.to_string())).collect()
        }
        _ => vec![],
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_alike_in_layer_after_layer_is_said_once() {
        let items = |width: u32| {
            let layer =
                |n: u32| (format!("step blk.{n}.q"), format!("linear(blk.{n}.q.weight, f32[{width}])"));
            let mut items: Items = [0, 1, 2, 5].map(layer).into();
            items.push(("options".into(), format!("{width}")));
            items
        };
        let mut b = items(8);
        b.push(("state kv.0.k".into(), "new".into()));
        b.remove(3);
        let expected = [
            "- step blk.{0..2}.q: linear(blk.{0..2}.q.weight, f32[4])",
            "+ step blk.{0..2}.q: linear(blk.{0..2}.q.weight, f32[8])",
            "- step blk.5.q: linear(blk.5.q.weight, f32[4])",
            "- options: 4",
            "+ options: 8",
            "+ state kv.0.k: new",
        ];
        assert_eq!(difference_by_layers(&items(4), &b), expected);
        assert_eq!(
            difference(&items(4), &b)[..2],
            [
                "- step blk.0.q: linear(blk.0.q.weight, f32[4])",
                "+ step blk.0.q: linear(blk.0.q.weight, f32[8])",
            ]
        );
        assert_eq!(difference(&b, &b), [""; 0]);
    }
}
