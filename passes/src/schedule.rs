//! Makes the plan: an order of steps, a buffer for every value, an edge for everything that crosses threads.
//!
//! The order is the graph's own, which is stable. Weights are laid out in the order in which steps
//! first use them, so that a step streams its weights from one place. Where buffers lie is left to `memory`.
use crate::{Cx, PassError};
use ir::ops::Input;
use ir::plan::{
    Arg, Buffer, BufferId, DEADLINE_MS, Edge, EdgeId, End, Kernel, KernelId, Model, OpText, Options, Plan,
    State, StateId, Step, Symbol, Thread, VERSION, Weight, WeightId, aligned,
};
use ir::{Graph, NodeId, Op, Symbols, TensorType};
use std::collections::HashMap;

/// What the schedule needs to know beside the graph.
pub struct Request {
    /// What is compiled; `packed_bytes` is filled in.
    pub model: Model,
    /// The user's options.
    pub options: Options,
    /// The graph's symbols with their greatest values, in the order kernels get them.
    pub symbols: Vec<Symbol>,
    /// The device that runs it.
    pub device: ir::plan::Device,
}

/// The plan of a graph on one device.
pub fn run(cx: &Cx, g: &Graph, request: Request) -> Result<Plan, PassError> {
    let max = request.symbols.iter().fold(Symbols::new(), |all, s| all.with(&s.name, s.max));
    let device = request.device.id;
    let mut plan = Plan {
        version: VERSION,
        model: request.model,
        options: request.options,
        symbols: request.symbols,
        devices: vec![request.device],
        memory: vec![],
        edges: vec![],
        weights: vec![],
        states: vec![],
        buffers: vec![],
        kernels: vec![],
        threads: vec![Thread {
            device,
            arena_bytes: 0,
            state_bytes: 0,
            scratch_bytes: 0,
            shared_bytes: 0,
            steps: vec![],
        }],
    };
    let mut scheduler =
        Scheduler { cx, g, max, plan: &mut plan, at: HashMap::new(), kernels: HashMap::new() };
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
    /// Where each value lies.
    at: HashMap<NodeId, Arg>,
    kernels: HashMap<(OpText, Vec<TensorType>, Vec<String>), KernelId>,
}

impl Scheduler<'_> {
    /// A state or an incoming edge for every input, in order of the graph; weights come with their first use.
    fn sources(&mut self) -> Result<(), PassError> {
        for n in self.g.order() {
            let Op::Input(Input { name, ty, state }) = &self.g[n].op else { continue };
            let bytes = self.bytes(n)?;
            if *state {
                let thread = &mut self.plan.threads[0];
                let id = StateId(self.plan.states.len() as u32);
                let offset = thread.state_bytes;
                thread.state_bytes = aligned(offset + bytes);
                let device = thread.device;
                self.plan.states.push(State {
                    id,
                    name: name.clone(),
                    device,
                    ty: ty.clone(),
                    offset,
                    bytes,
                });
                self.at.insert(n, Arg::S(id));
            } else {
                let edge = self.edge(name, End::Host, End::Device(self.device()), ty, bytes);
                let to = self.buffer(n)?;
                self.plan.threads[0].steps.push(Step::Recv { edge, to });
            }
        }
        Ok(())
    }

    fn step(&mut self, n: NodeId) -> Result<(), PassError> {
        let mut args = vec![];
        let mut layouts = vec![];
        for input in self.g.inputs(n) {
            let arg = match self.at.get(&input) {
                Some(arg) => *arg,
                None => self.weight(input)?,
            };
            layouts.push(match arg {
                Arg::W(id) => self.plan.weights[id.0 as usize].layout.clone(),
                _ => "plain".to_owned(),
            });
            args.push(arg);
        }
        let op = &self.g[n].op;
        let output = match (op, args.first()) {
            (Op::KvAppend(_), Some(state @ Arg::S(_))) => *state,
            _ => Arg::B(self.buffer(n)?),
        };
        self.at.insert(n, output);
        args.push(output);
        let text = OpText(op.name().to_owned(), op.attributes());
        let kernel = self.kernel(n, text, layouts);
        let node = self.g[n].path.clone();
        self.plan.threads[0].steps.push(Step::Run { kernel, args, node });
        Ok(())
    }

    fn outputs(&mut self) -> Result<(), PassError> {
        for (index, &n) in self.g.outputs.iter().enumerate() {
            match self.at.get(&n) {
                Some(Arg::B(from)) => {
                    let name = if index == 0 { "logits".to_owned() } else { format!("output.{index}") };
                    let (ty, bytes) = (&self.g[n].ty, self.bytes(n)?);
                    let from = *from;
                    let edge = self.edge(&name, End::Device(self.device()), End::Host, ty, bytes);
                    self.plan.threads[0].steps.push(Step::Send { edge, from });
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

    fn device(&self) -> ir::plan::DeviceId {
        self.plan.threads[0].device
    }

    fn bytes(&self, n: NodeId) -> Result<u64, PassError> {
        let ty = &self.g[n].ty;
        ty.bytes(|s| self.max.get(s)).ok_or_else(|| PassError::Unschedulable {
            node: n.to_string(),
            reason: format!("the size of {ty} cannot be known"),
        })
    }

    fn buffer(&mut self, n: NodeId) -> Result<BufferId, PassError> {
        let bytes = self.bytes(n)?;
        let id = BufferId(self.plan.buffers.len() as u32);
        let device = self.device();
        self.plan.buffers.push(Buffer { id, device, ty: self.g[n].ty.clone(), offset: 0, bytes });
        self.at.insert(n, Arg::B(id));
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
            capacity: 1,
            deadline_ms: DEADLINE_MS,
        });
        id
    }

    fn weight(&mut self, n: NodeId) -> Result<Arg, PassError> {
        let Op::Weight(weight) = &self.g[n].op else {
            let reason = "its value lies nowhere when it is needed".to_owned();
            return Err(PassError::Unschedulable { node: n.to_string(), reason });
        };
        let unservable = |reason| PassError::Unschedulable { node: weight.name.clone(), reason };
        let layout = weight.layout.clone().ok_or_else(|| unservable("no layout was decided".into()))?;
        let bytes = (self.cx.target.packed_bytes)(&weight.ty, &layout).map_err(unservable)?;
        let id = WeightId(self.plan.weights.len() as u32);
        let offset = self.plan.model.packed_bytes;
        self.plan.model.packed_bytes = aligned(offset + bytes);
        let device = self.device();
        let (name, ty) = (weight.name.clone(), weight.ty.clone());
        self.plan.weights.push(Weight { id, name, device, ty, layout, offset, bytes });
        self.at.insert(n, Arg::W(id));
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
