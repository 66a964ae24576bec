//! Makes the plan: an order of steps for each device, a buffer for every value, an edge for everything that
//! crosses threads.
//!
//! The order is the graph's own, which is stable. A value that another device needs is sent as soon as it is made,
//! and received where it is first needed, or when its edge is full. Weights are laid out in the order in which steps first use them, so that
//! a step streams its weights from one place. Where buffers lie is left to `memory`.
use crate::{Cx, PassError};
use ir::ops::Input;
use ir::plan::{
    Arg, Buffer, BufferId, CAPACITY_MAX, DEADLINE_MS, Device, DeviceId, Edge, EdgeId, End, Kernel, KernelId,
    Model, OpText, Options, Plan, State, StateId, Step, Symbol, Thread, VERSION, Weight, WeightId, aligned,
};
use ir::{Graph, NodeId, Op, Part, Symbols, TensorType};
use std::collections::{HashMap, VecDeque};

/// What the schedule needs to know beside the graph.
pub struct Request {
    /// What is compiled; `packed_bytes` is filled in.
    pub model: Model,
    /// The user's options.
    pub options: Options,
    /// The graph's symbols with their greatest values, in the order kernels get them.
    pub symbols: Vec<Symbol>,
    /// The devices that run it, by number: the places of the graph's nodes.
    pub devices: Vec<Device>,
}

/// The plan of a graph on the devices that its nodes have places on.
pub fn run(cx: &Cx, g: &Graph, request: Request) -> Result<Plan, PassError> {
    let max = request.symbols.iter().fold(Symbols::new(), |all, s| all.with(&s.name, s.max));
    let thread = |device: &Device| Thread {
        device: device.id,
        arena_bytes: 0,
        state_bytes: 0,
        scratch_bytes: 0,
        shared_bytes: 0,
        steps: vec![],
    };
    let mut plan = Plan {
        version: VERSION,
        model: request.model,
        options: request.options,
        symbols: request.symbols,
        threads: request.devices.iter().map(thread).collect(),
        devices: request.devices,
        memory: vec![],
        edges: vec![],
        weights: vec![],
        states: vec![],
        buffers: vec![],
        kernels: vec![],
        why: vec![],
    };
    let mut scheduler = Scheduler {
        cx,
        g,
        max,
        plan: &mut plan,
        at: HashMap::new(),
        kernels: HashMap::new(),
        sent: HashMap::new(),
        edges: HashMap::new(),
        waiting: HashMap::new(),
        packed: HashMap::new(),
    };
    scheduler.sources()?;
    for n in g.order() {
        if !matches!(g[n].op, Op::Input(_) | Op::Weight(_)) {
            scheduler.step(n)?;
        }
    }
    scheduler.outputs()?;
    Ok(plan)
}

struct Scheduler<'a> {
    cx: &'a Cx,
    g: &'a Graph,
    max: Symbols,
    plan: &'a mut Plan,
    /// Where each value lies on a device.
    at: HashMap<(NodeId, u32), Arg>,
    kernels: HashMap<(OpText, Vec<TensorType>, Vec<String>), KernelId>,
    /// The edge that brings a value to a device, once it has been sent.
    sent: HashMap<(NodeId, u32), EdgeId>,
    /// The edges between devices, one for each type of message.
    edges: HashMap<(DeviceId, DeviceId, TensorType), EdgeId>,
    /// What was sent over an edge and not yet received, in order.
    waiting: HashMap<EdgeId, VecDeque<NodeId>>,
    /// Where in the file a part of a weight lies, in a layout: devices that need the same share it.
    packed: HashMap<(String, Option<Part>, TensorType, String), u64>,
}

impl Scheduler<'_> {
    /// A state on its device, an edge from the host to every device that uses an input, in order of the graph;
    /// weights come with their first use.
    fn sources(&mut self) -> Result<(), PassError> {
        for n in self.g.order() {
            let Op::Input(Input { name, ty, state, part }) = &self.g[n].op else { continue };
            let bytes = self.bytes(n)?;
            if *state {
                let place = self.g[n].place;
                let device = self.device(n, place)?;
                let thread = &mut self.plan.threads[place as usize];
                let id = StateId(self.plan.states.len() as u32);
                let offset = thread.state_bytes;
                thread.state_bytes = aligned(offset + bytes);
                let (name, ty, part) = (name.clone(), ty.clone(), *part);
                self.plan.states.push(State { id, name, device, ty, part, offset, bytes });
                self.at.insert((n, place), Arg::S(id));
                continue;
            }
            let mut places: Vec<u32> = self.g.users(n).iter().map(|user| self.g[*user].place).collect();
            places.sort_unstable();
            places.dedup();
            if places.is_empty() {
                // It is part of what a step is, used or not.
                places.push(0);
            }
            for place in places {
                let device = self.device(n, place)?;
                let edge = self.edge(name, End::Host, End::Device(device), ty, bytes);
                let to = self.buffer(n, place)?;
                self.plan.threads[place as usize].steps.push(Step::Recv { edge, to });
            }
        }
        Ok(())
    }

    fn step(&mut self, n: NodeId) -> Result<(), PassError> {
        let place = self.g[n].place;
        self.device(n, place)?;
        let mut args = vec![];
        let mut layouts = vec![];
        for input in self.g.inputs(n) {
            let arg = self.operand(input, place)?;
            layouts.push(match arg {
                Arg::W(id) => self.plan.weights[id.0 as usize].layout.clone(),
                _ => "plain".to_owned(),
            });
            args.push(arg);
        }
        let op = &self.g[n].op;
        let output = match (op, args.first()) {
            (Op::KvAppend(_), Some(state @ Arg::S(_))) => *state,
            _ => Arg::B(self.buffer(n, place)?),
        };
        self.at.insert((n, place), output);
        args.push(output);
        let text = OpText(op.name().to_owned(), op.attributes());
        let kernel = self.kernel(n, text, layouts);
        let node = self.g[n].path.clone();
        self.plan.threads[place as usize].steps.push(Step::Run { kernel, args, node });
        self.send(n)
    }

    /// Sends a value to every other device that needs it.
    fn send(&mut self, n: NodeId) -> Result<(), PassError> {
        let own = self.g[n].place;
        for user in self.g.users(n) {
            let place = self.g[user].place;
            if place == own || self.sent.contains_key(&(n, place)) {
                continue;
            }
            let Some(&Arg::B(from)) = self.at.get(&(n, own)) else {
                let reason = "a cache is used on another device than it is on".to_owned();
                return Err(PassError::Unschedulable { node: n.to_string(), reason });
            };
            let ends = (self.device(n, own)?, self.device(n, place)?);
            let edge = self.shared_edge(n, ends)?;
            self.plan.threads[own as usize].steps.push(Step::Send { edge, from });
            if self.waiting.get(&edge).is_some_and(|waiting| waiting.len() >= CAPACITY_MAX as usize) {
                self.receive(edge, place)?;
            }
            let waiting = self.waiting.entry(edge).or_default();
            waiting.push_back(n);
            // So that nobody waits to send what the other end takes only behind something else.
            let edge_of = &mut self.plan.edges[edge.0 as usize];
            edge_of.capacity = edge_of.capacity.max(waiting.len() as u32);
            self.sent.insert((n, place), edge);
        }
        Ok(())
    }

    /// The edge from a device to another that carries values of this type. It is one for all of them, so that they
    /// share its slots; its name is made of what it carries.
    fn shared_edge(&mut self, n: NodeId, (from, to): (DeviceId, DeviceId)) -> Result<EdgeId, PassError> {
        let (ty, path) = (&self.g[n].ty, &self.g[n].path);
        let leaf = match path.strip_prefix("blk.").and_then(|path| path.split_once('.')) {
            Some((_, leaf)) => leaf,
            None => path,
        };
        let key = (from, to, ty.clone());
        if let Some(&id) = self.edges.get(&key) {
            let edge = &mut self.plan.edges[id.0 as usize];
            // So that both ends can go on while the other is a message behind.
            edge.capacity = edge.capacity.max(2);
            if !edge.name.split('+').any(|name| name == leaf) {
                edge.name = format!("{}+{leaf}", edge.name);
            }
            return Ok(id);
        }
        let bytes = self.bytes(n)?;
        let id = self.edge(leaf, End::Device(from), End::Device(to), ty, bytes);
        self.edges.insert(key, id);
        Ok(id)
    }

    /// Where an operand lies on a device, to which it comes now if it was made on another: behind all that was
    /// sent before it over the same edge.
    fn operand(&mut self, n: NodeId, place: u32) -> Result<Arg, PassError> {
        if let Some(&edge) = self.sent.get(&(n, place)) {
            while !self.at.contains_key(&(n, place)) && self.receive(edge, place)? {}
        }
        match self.at.get(&(n, place)) {
            Some(arg) => Ok(*arg),
            None => self.weight(n, place),
        }
    }

    /// Lets a device take the oldest message that waits on an edge, if one does.
    fn receive(&mut self, edge: EdgeId, place: u32) -> Result<bool, PassError> {
        let Some(next) = self.waiting.get_mut(&edge).and_then(VecDeque::pop_front) else { return Ok(false) };
        let to = self.buffer(next, place)?;
        self.plan.threads[place as usize].steps.push(Step::Recv { edge, to });
        Ok(true)
    }

    fn outputs(&mut self) -> Result<(), PassError> {
        let mut others = 0;
        for &n in &self.g.outputs {
            let place = self.g[n].place;
            match self.at.get(&(n, place)) {
                Some(Arg::B(from)) => {
                    let from = *from;
                    // The first is the logits; a replica's are of the same type.
                    let is_logits = self.g[n].ty == self.g[self.g.outputs[0]].ty;
                    let name = match &self.g[n].op {
                        Op::TopK(_) => "candidates".to_owned(),
                        _ if is_logits => "logits".to_owned(),
                        _ => {
                            others += 1;
                            format!("output.{others}")
                        }
                    };
                    let (ty, bytes) = (&self.g[n].ty, self.bytes(n)?);
                    let edge = self.edge(&name, End::Device(self.device(n, place)?), End::Host, ty, bytes);
                    self.plan.threads[place as usize].steps.push(Step::Send { edge, from });
                }
                Some(Arg::S(_)) => {}
                _ => {
                    return Err(PassError::Unschedulable {
                        node: n.to_string(),
                        reason: "an output is a bare weight".into(),
                    });
                }
            }
        }
        Ok(())
    }

    fn device(&self, n: NodeId, place: u32) -> Result<DeviceId, PassError> {
        let device = self.plan.devices.get(place as usize).map(|device| device.id);
        device.ok_or_else(|| PassError::Unschedulable {
            node: n.to_string(),
            reason: format!("it is on device {place}, expected one of {}", self.plan.devices.len()),
        })
    }

    fn bytes(&self, n: NodeId) -> Result<u64, PassError> {
        let ty = &self.g[n].ty;
        ty.bytes(|s| self.max.get(s)).ok_or_else(|| PassError::Unschedulable {
            node: n.to_string(),
            reason: format!("the size of {ty} cannot be known"),
        })
    }

    fn buffer(&mut self, n: NodeId, place: u32) -> Result<BufferId, PassError> {
        let bytes = self.bytes(n)?;
        let id = BufferId(self.plan.buffers.len() as u32);
        let device = self.device(n, place)?;
        let ty = self.g[n].ty.clone();
        self.plan.buffers.push(Buffer { id, device, ty, slot: None, offset: 0, bytes });
        self.at.insert((n, place), Arg::B(id));
        Ok(id)
    }

    fn edge(&mut self, name: &str, from: End, to: End, ty: &TensorType, bytes: u64) -> EdgeId {
        let id = EdgeId(self.plan.edges.len() as u32);
        self.plan.edges.push(Edge {
            id,
            name: name.to_owned(),
            from,
            to,
            ty: ty.clone(),
            bytes,
            capacity: self.plan.options.micro_batches,
            deadline_ms: DEADLINE_MS,
        });
        id
    }

    fn weight(&mut self, n: NodeId, place: u32) -> Result<Arg, PassError> {
        let weight = match &self.g[n].op {
            Op::Weight(weight) if self.g[n].place == place => weight,
            _ => {
                let reason = "its value lies nowhere when it is needed".to_owned();
                return Err(PassError::Unschedulable { node: n.to_string(), reason });
            }
        };
        let unservable = |reason| PassError::Unschedulable { node: weight.name.clone(), reason };
        let layout = weight.layout.clone().ok_or_else(|| unservable("no layout was decided".into()))?;
        let bytes = (self.cx.target.packed_bytes)(&weight.ty, &layout).map_err(unservable)?;
        let id = WeightId(self.plan.weights.len() as u32);
        let end = &mut self.plan.model.packed_bytes;
        let key = (weight.name.clone(), weight.part, weight.ty.clone(), layout.clone());
        let offset = *self.packed.entry(key).or_insert_with(|| std::mem::replace(end, aligned(*end + bytes)));
        let device = self.device(n, place)?;
        let (name, ty, part) = (weight.name.clone(), weight.ty.clone(), weight.part);
        self.plan.weights.push(Weight { id, name, device, ty, part, layout, offset, bytes });
        self.at.insert((n, place), Arg::W(id));
        Ok(Arg::W(id))
    }

    fn kernel(&mut self, n: NodeId, op: OpText, layouts: Vec<String>) -> KernelId {
        let inputs = self.g.input_types(n);
        let key = (op.clone(), inputs.clone(), layouts.clone());
        let (plan, output) = (&mut *self.plan, &self.g[n].ty);
        *self.kernels.entry(key).or_insert_with(|| {
            let id = KernelId(plan.kernels.len() as u32);
            let name = Kernel::name_for(&op, &layouts);
            let output = output.clone();
            plan.kernels.push(Kernel { id, name, op, inputs, layouts, output, scratch: 0, shared: 0 });
            id
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ir::plan::{Activations, Partition};
    use ir::{DType, text};

    /// For steps of at most so many tokens.
    pub(crate) fn request(
        partition: Partition,
        micro_batches: u32,
        tokens: u32,
        devices: &[Device],
    ) -> Request {
        let options = Options {
            context: 32,
            max_batch: partition.data,
            chunk: tokens,
            rows: 1,
            page: 32,
            kv: DType::F16,
            activations: Activations::F32,
            partition,
            all_reduce: Default::default(),
            micro_batches,
            memory: None,
            hints: vec![],
        };
        let model = Model {
            name: "m".into(),
            architecture: "a".into(),
            file: "f".into(),
            sha256: String::new(),
            packed_bytes: 0,
        };
        let symbols = vec![Symbol { name: "n".into(), max: tokens.into(), decode: 1 }];
        Request { model, options, symbols, devices: devices.to_vec() }
    }

    #[test]
    fn an_edge_holds_no_more_than_it_may_however_many_values_wait_on_it() {
        const VALUES: usize = 70;
        let mut lines = vec!["x = input(): f32[n, 16]".to_owned()];
        lines.extend((0..VALUES).map(|i| format!("%{i} = neg(x): f32[n, 16] @v{i}")));
        // The other device begins with the last.
        let sum = |at: usize, a: usize, b: usize| format!("%{at} = add(%{a}, %{b}): f32[n, 16] on 1 @s{at}");
        lines.push(sum(VALUES, VALUES - 1, VALUES - 2));
        lines.extend((0..VALUES - 2).map(|i| sum(VALUES + 1 + i, VALUES + i, VALUES - 3 - i)));
        let text = format!("graph g {{\n{}\nreturn %{}\n}}", lines.join("\n"), 2 * VALUES - 2);
        let graph = text::read(&text).unwrap().graph;
        let devices = [0, 1].map(|id| Device::cpu(id, 1));
        let plan = run(&Cx::default(), &graph, request(Partition::WHOLE, 1, 4, &devices)).unwrap();
        let between = plan.edges.iter().filter(|edge| edge.to != End::Host && edge.from != End::Host);
        let capacities: Vec<u32> = between.map(|edge| edge.capacity).collect();
        assert_eq!(capacities, [CAPACITY_MAX]);
        let steps = &plan.threads[1].steps;
        let received = steps.iter().filter(|step| matches!(step, Step::Recv { .. })).count();
        assert_eq!((received, steps.len()), (VALUES, VALUES + VALUES - 1 + 1));
    }
}
