//! All that is known of a node, in words.
use super::flow::{NodeIx, Role};
use super::lanes::SpanKind;
use super::matching::Fate;
use super::plan::StepAt;
use super::{Document, Pass};
use ir::plan::{Arg, Step};

/// All that is known of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// What it is called.
    pub title: String,
    /// What is known, in order of interest.
    pub facts: Vec<Fact>,
    /// What it is computed from, in order.
    pub inputs: Vec<NodeIx>,
    /// What is computed from it.
    pub users: Vec<NodeIx>,
    /// The nodes of the first pass that it stands for.
    pub origins: Vec<NodeIx>,
    /// The nodes of the pass before that it was made of.
    pub before: Vec<NodeIx>,
    /// The nodes of the pass behind that were made of it.
    pub after: Vec<NodeIx>,
    /// The steps that compute it, of the last pass.
    pub steps: Vec<StepAt>,
}

/// Something that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What about: `type`.
    pub name: &'static str,
    /// `f32[n, 576]`.
    pub value: String,
}

impl Document {
    /// All that is known of a node of a pass; none where there is no such node.
    pub fn details(&self, pass: usize, node: NodeIx) -> Option<Details> {
        let shown = self.passes.get(pass)?;
        let own = shown.flow.nodes.get(node.at())?;
        let related =
            |at: usize| self.passes.get(at).map(|other| other.provenance().related(own)).unwrap_or_default();
        let is_last = pass + 1 == self.passes.len();
        let plan = self.plan.as_ref().filter(|_| is_last);
        let steps = plan.and_then(|plan| plan.steps.get(&node)).cloned().unwrap_or_default();
        let mut details = Details {
            title: own.title().to_owned(),
            facts: vec![],
            inputs: own.inputs.clone(),
            users: shown.flow.users(node).to_vec(),
            origins: if pass > 0 { related(0) } else { vec![] },
            before: pass.checked_sub(1).map(related).unwrap_or_default(),
            after: related(pass + 1),
            steps,
        };
        self.of_graph(&mut details, shown, node);
        self.of_plan(&mut details, is_last, node);
        self.of_run(&mut details);
        Some(details)
    }

    fn of_graph(&self, details: &mut Details, shown: &Pass, node: NodeIx) {
        let own = &shown.flow[node];
        details.say("operator", own.op.clone());
        if own.title() != own.name {
            details.say("value", own.name.clone());
        }
        if let Some(ty) = &own.ty {
            details.say("type", ty.to_string());
            if let Some(bytes) = self.bytes(ty) {
                details.say("bytes", bytes);
            }
        }
        if !own.attributes.is_empty() {
            details.say("attributes", own.attributes.clone());
        }
        details.say("device", self.device(own.device));
        if !own.stands_for.is_empty() {
            let ids: Vec<String> = own.stands_for.iter().map(u32::to_string).collect();
            details.say("stands for", ids.join(", "));
        }
        if let Some(change) = &shown.change {
            let fate = match change.fates[node.at()] {
                Fate::Same => "as it was",
                Fate::Changed => "changed",
                Fate::Added => "added",
            };
            details.say("this pass", format!("{fate} by {}", shown.name));
        }
    }

    /// Bytes in a decode step, and at most.
    fn bytes(&self, ty: &ir::TensorType) -> Option<String> {
        let Some(plan) = &self.plan else { return ty.bytes(|_| None).map(|bytes| bytes.to_string()) };
        let (token, most) = (plan.plan.decode_symbols(), plan.plan.max_symbols());
        let (token, most) = (ty.bytes(|s| token.get(s))?, ty.bytes(|s| most.get(s))?);
        Some(if token == most { most.to_string() } else { format!("{token} for a token, {most} at most") })
    }

    fn of_plan(&self, details: &mut Details, is_last: bool, node: NodeIx) {
        let Some(view) = self.plan.as_ref().filter(|_| is_last) else { return };
        for at in details.steps.clone() {
            let thread = &view.plan.threads[at.thread as usize];
            let Step::Run { kernel, args, .. } = &thread.steps[at.step as usize] else { continue };
            details.say("step", format!("{} of {}", at.step, self.device(thread.device.0)));
            if let Some(kernel) = view.plan.kernels.get(kernel.0 as usize) {
                details.say("kernel", kernel.name.clone());
                if kernel.scratch > 0 {
                    details.say("scratch", format!("{} bytes for each worker", kernel.scratch));
                }
            }
            for arg in args {
                if let Arg::W(id) = arg
                    && let Some(weight) = view.plan.weights.get(id.0 as usize)
                {
                    details.say(
                        "weight",
                        format!("{}: {}, {}, {} bytes", weight.name, weight.ty, weight.layout, weight.bytes),
                    );
                }
            }
        }
        for memory in &view.memory {
            for life in memory.buffers.iter().filter(|life| life.node == Some(node)) {
                let lies = match life.slot {
                    Some(edge) => format!("in a slot of {edge}"),
                    None => format!("at {}", life.offset),
                };
                let (first, last) = (life.first, life.last);
                details.say(
                    "buffer",
                    format!("{} bytes {lies} of {}, steps {first} to {last}", life.bytes, memory.name),
                );
            }
        }
        for message in view.messages.iter().filter(|m| m.made_by.contains(&node) || m.read_by.contains(&node))
        {
            let bytes =
                message.token_bytes.map_or(String::new(), |bytes| format!("{bytes} bytes for a token, "));
            details.say(
                "message",
                format!(
                    "{} from {} to {}: {bytes}{} at most",
                    message.name, message.from_name, message.to_name, message.bytes
                ),
            );
        }
    }

    /// What it took, and what it should have.
    fn of_run(&self, details: &mut Details) {
        let Some(trace) = &self.trace else { return };
        let steps = details.steps.clone();
        let own =
            trace.misses().iter().filter(|miss| steps.contains(&miss.at) && miss.kind == SpanKind::Kernel);
        for miss in own {
            let name = if miss.is_decode { "time of a token" } else { "time of a prompt" };
            details.say(
                name,
                format!("{:.1} us measured, {:.1} us predicted", miss.measured_us, miss.predicted_us),
            );
        }
    }

    /// The nodes that a person means with a path: what is computed comes first.
    pub fn named(&self, pass: usize, path: &str) -> Vec<NodeIx> {
        let Some(shown) = self.passes.get(pass) else { return vec![] };
        let mut nodes: Vec<NodeIx> =
            shown.flow.indices().filter(|at| shown.flow[*at].title() == path).collect();
        nodes.sort_by_key(|at| shown.flow[*at].role != Role::Value);
        nodes
    }
}

impl Details {
    fn say(&mut self, name: &'static str, value: String) {
        self.facts.push(Fact { name, value });
    }
}
