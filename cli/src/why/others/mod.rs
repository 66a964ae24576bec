//! What else could have been decided about nodes, an edge or a device: plans that differ from one in that alone.
mod devices;
mod edges;
mod nodes;

use super::answer::devices;
use super::decided::Subject;
use ir::Graph;
use ir::plan::{Device, DeviceId, Edge, EdgeId, End, Hint, Options, Pattern, Plan};
use ir::topology::Topology;
use passes::partition::{Cut, devices_for, layer_of};

/// A plan that differs from another in one decision.
#[derive(Clone, Debug)]
pub(super) struct Other {
    /// That decision, as something that would take a time.
    pub(super) what: String,
    pub(super) options: Options,
    pub(super) devices: Vec<Device>,
    /// The hints by which it is so.
    pub(super) hints: Vec<Hint>,
    /// The edge that it is about: where that stays as it is, it is none.
    pub(super) about: Option<EdgeId>,
}

/// So many are compiled at most.
const MOST: usize = 4;

/// A plan, and what it was made of.
pub(super) struct Choices<'a> {
    pub(super) plan: &'a Plan,
    /// The graph before any pass.
    pub(super) graph: &'a Graph,
    pub(super) cut: &'a Cut,
    /// By which equal devices are told from others.
    pub(super) topology: &'a Topology,
}

/// Why nothing else could have been decided, where that needs no trying.
pub(super) fn settled(plan: &Plan, subject: &Subject<'_>) -> Option<&'static str> {
    let is_host = |edge: &Edge| edge.from == End::Host || edge.to == End::Host;
    let each = plan.devices.len() / plan.options.partition.data.max(1) as usize;
    match subject {
        Subject::Edge(edge) if is_host(edge) => {
            Some("it joins a device and the host, which makes or needs what it carries")
        }
        Subject::Device(_) if plan.devices.len() == 1 => Some("it is the only device of the plan"),
        Subject::Nodes { multiply, .. } if each == 1 && multiply.is_empty() => Some(
            "no other device works for the same sequences, and no product with weights is here that could be computed \
             otherwise",
        ),
        _ => None,
    }
}

impl Choices<'_> {
    /// What there is to try.
    pub(super) fn about(&self, subject: &Subject<'_>) -> Vec<Other> {
        match subject {
            Subject::Nodes { path, on, multiply } => self.about_nodes(path, on, multiply),
            Subject::Edge(edge) => self.about_edge(edge),
            Subject::Device(device) => self.about_device(device),
        }
    }

    /// The plan with a stage that begins with another layer; none where a stage would have no layer.
    fn begun(&self, stage: usize, first: u64, what: String) -> Option<Other> {
        let firsts = self.firsts();
        let end = firsts.get(stage + 1).copied().unwrap_or_else(|| self.layers());
        let before = *firsts.get(stage.checked_sub(1)?)?;
        let said = Hint::Stage { stage: stage as u32, first_layer: first };
        (before < first && first < end).then(|| self.hinted(what, vec![said]))
    }

    /// The plan with more hints. What else older hints say of other nodes holds, and stages begin where they do.
    fn hinted(&self, what: String, said: Vec<Hint>) -> Other {
        let is_said = |path: &str| {
            said.iter().any(|hint| match hint {
                Hint::Place { nodes, .. } | Hint::Whole { nodes } => nodes.matches(path),
                _ => false,
            })
        };
        let begins = |hints: &[Hint], at: u32| {
            hints.iter().any(|hint| matches!(hint, Hint::Stage { stage, .. } if *stage == at))
        };
        let mut hints = said.clone();
        for hint in &self.plan.options.hints {
            match hint {
                Hint::Place { nodes, device } if self.paths().any(|p| nodes.matches(p) && is_said(p)) => {
                    let rest = self.paths().filter(|path| nodes.matches(path) && !is_said(path));
                    let rest = rest.filter_map(|path| pattern(path).ok());
                    hints.extend(rest.map(|nodes| Hint::Place { nodes, device: device.clone() }));
                }
                Hint::Stage { stage, .. } if begins(&said, *stage) => {}
                other => hints.push(other.clone()),
            }
        }
        for (stage, first_layer) in (0..).zip(self.firsts()).skip(1) {
            if !begins(&hints, stage) {
                hints.push(Hint::Stage { stage, first_layer });
            }
        }
        let options = Options { hints, ..self.plan.options.clone() };
        // A device that only hints named may have nothing to do any more.
        let devices = self.devices_for(&options, &self.plan.devices);
        Other { what, options, devices, hints: said, about: None }
    }

    fn devices_for(&self, options: &Options, devices: &[Device]) -> Vec<Device> {
        devices_for(options.partition, &options.hints, devices)
    }

    /// The replica and the stage that a device belongs to; none of one that only hints name.
    fn stage_of(&self, device: DeviceId) -> Option<(usize, usize)> {
        self.cut.replicas.iter().enumerate().find_map(|(replica, stages)| {
            let stage = stages.iter().position(|stage| stage.places.contains(&device.0))?;
            Some((replica, stage))
        })
    }

    /// The first layers of the stages.
    fn firsts(&self) -> Vec<u64> {
        self.cut.replicas[0].iter().map(|stage| stage.first_layer).collect()
    }

    fn layers(&self) -> u64 {
        self.paths().filter_map(layer_of).max().map_or(1, |last| last + 1)
    }

    /// The paths of all nodes that hints can be about.
    fn paths(&self) -> impl Iterator<Item = &str> {
        let nodes = self.graph.nodes().filter(|n| self.graph[*n].op.given_name().is_none());
        nodes.map(|n| self.graph[n].path.as_str())
    }

    fn name(&self, place: u32) -> &str {
        self.plan.devices.get(place as usize).map_or("", |device| &device.name)
    }

    fn names(&self, places: &[u32]) -> String {
        devices(&places.iter().map(|place| self.name(*place)).collect::<Vec<_>>())
    }
}

/// The pattern of a step's path, which may be joined of several: `blk.3.attn_q+attn_k`.
fn pattern(path: &str) -> Result<Pattern, String> {
    let (stem, leaves) = path.rsplit_once('.').map_or(("", path), |(stem, leaves)| (stem, leaves));
    let text = match (leaves.contains('+'), stem) {
        (false, _) => path.to_owned(),
        (true, "") => format!("{{{}}}", leaves.replace('+', ",")),
        (true, _) => format!("{stem}.{{{}}}", leaves.replace('+', ",")),
    };
    text.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use compiler::import::Checkpoint;
    use ir::DType;
    use ir::plan::Activations;
    use std::path::Path;

    /// What there is to try of nodes on these devices, in a plan that is cut so over equal devices.
    fn others(cut: &str, hints: &[Hint], path: &str, on: &[u32]) -> Vec<Other> {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models/smollm2-135m.json");
        let checkpoint = Checkpoint::open(&model).unwrap();
        let options = Options {
            context: 64,
            max_batch: 1,
            chunk: 16,
            rows: 1,
            page: 32,
            kv: DType::F16,
            activations: Activations::F32,
            partition: cut.parse().unwrap(),
            all_reduce: Default::default(),
            micro_batches: 1,
            memory: None,
            hints: hints.to_vec(),
        };
        let all: Vec<Device> = (0..8).map(|number| Device::cpu(number, 1)).collect();
        let devices = devices_for(options.partition, hints, &all);
        let made = compiler::compile(&checkpoint, options, &devices).unwrap();
        let topology = Topology { version: 2, devices: vec![], switches: vec![], links: vec![] };
        let on = on.iter().map(|number| DeviceId(*number)).collect();
        let subject = Subject::Nodes { path: path.to_owned(), on, multiply: vec![] };
        Choices { plan: &made.plan, graph: &made.reference, cut: &made.cut, topology: &topology }
            .about(&subject)
    }

    fn said(others: &[Other]) -> Vec<&str> {
        others.iter().map(|other| other.what.as_str()).collect()
    }

    fn place(nodes: &str, device: &str) -> Hint {
        Hint::Place { nodes: pattern(nodes).unwrap(), device: device.to_owned() }
    }

    #[test]
    fn devices_of_the_next_stages_come_first_and_equal_ones_of_a_group_once() {
        let found = others("pipeline:3,tensor:2", &[], "blk.0.ffn_up", &[0, 1]);
        let expected =
            ["whole on each of cpu:0, cpu:1", "on cpu:0 alone", "on cpu:2 alone", "on cpu:4 alone"];
        assert_eq!(said(&found), expected.map(|what| format!("blk.0.ffn_up {what}")));
        let found = others("pipeline:8", &[], "output", &[7]);
        let expected = [6, 5, 4, 3].map(|number| format!("output on cpu:{number}"));
        assert_eq!(said(&found), expected);
        assert!(others("data:2", &[], "output", &[0, 1]).is_empty());
    }

    #[test]
    fn a_cache_goes_where_it_is_read() {
        let found = others("pipeline:2", &[], "blk.0.append_v", &[0]);
        let nodes: Vec<String> = found[0].hints.iter().map(ToString::to_string).collect();
        let moved = ["append_v", "append_k", "attention"]
            .map(|leaf| format!("Place(nodes: \"blk.0.{leaf}\", device: \"cpu:1\")"));
        assert_eq!(nodes, moved);
        assert_eq!(others("pipeline:2", &[], "blk.0.attn_q+attn_k", &[0])[0].hints.len(), 1);
    }

    #[test]
    fn stages_begin_where_they_do_and_hints_of_other_nodes_hold() {
        let hints = [place("blk.2.ffn_{up,down}", "cpu:1"), Hint::Stage { stage: 1, first_layer: 7 }];
        let found = others("pipeline:3", &hints, "blk.2.ffn_up", &[1]);
        let [first, .., last] = &found[0].options.hints[..] else { panic!("{found:?}") };
        assert_eq!(*first, place("blk.2.ffn_up", "cpu:0"));
        assert!(found[0].options.hints.contains(&place("blk.2.ffn_down", "cpu:1")), "{found:?}");
        assert!(found[0].options.hints.contains(&hints[1]), "{found:?}");
        assert!(matches!(last, Hint::Stage { stage: 2, .. }), "{last}");
    }
}
