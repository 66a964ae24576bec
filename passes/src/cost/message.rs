//! What messages take: over the way that the topology has between the two ends of an edge.
use super::{CostError, CostModel};
use ir::plan::{Edge, End, Plan};
use ir::topology::{Route, Topology};
use ir::work::StepSize;

/// What a message takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Message {
    /// How many bytes it has.
    pub bytes: u64,
    /// What a message takes however short it is, in nanoseconds.
    pub latency_ns: f64,
    /// What its bytes take beside, in nanoseconds.
    pub transfer_ns: f64,
    /// What it takes to wake the reader, if that has waited for so long that it sleeps, in nanoseconds.
    pub wake_ns: f64,
}

impl Message {
    /// From sending it until a reader that is awake can use it, in nanoseconds.
    pub fn predicted_ns(&self) -> f64 {
        self.latency_ns + self.transfer_ns
    }
}

/// The way of every edge, in their order; none for an edge of the host with a device that has no link to itself.
pub(super) fn routes(plan: &Plan, topology: &Topology) -> Result<Vec<Option<Route>>, CostError> {
    let names = |edge: &Edge| {
        let name = |end: End| match end {
            End::Device(id) => plan.devices.get(id.0 as usize).map(|device| device.name.as_str()),
            End::Host => None,
        };
        let (from, to) = (name(edge.from), name(edge.to));
        // The host runs beside the device that it talks to.
        Some((from.or(to)?, to.or(from)?))
    };
    let is_between = |edge: &&Edge| edge.from != End::Host && edge.to != End::Host;
    let between = plan.edges.iter().filter(is_between).filter_map(names);
    let mut missing: Vec<(String, String)> = vec![];
    for (from, to) in topology.unreachable(between) {
        let pair = (from.to_owned(), to.to_owned());
        if !missing.iter().any(|(a, b)| *a == pair.0 && *b == pair.1 || *a == pair.1 && *b == pair.0) {
            missing.push(pair);
        }
    }
    match missing.is_empty() {
        true => {
            Ok(plan.edges.iter().map(|edge| names(edge).and_then(|(a, b)| topology.route(a, b))).collect())
        }
        false => Err(CostError::Links { missing }),
    }
}

impl CostModel<'_> {
    /// What a message over an edge of the plan takes in a step of that size. An edge with the host costs what one
    /// from the device to itself does, for the host runs beside it, and nothing where the device has no such link.
    pub fn message(&self, edge: &Edge, size: &StepSize) -> Result<Message, CostError> {
        let unknown = || CostError::Message { id: edge.id, name: edge.name.clone() };
        let bytes = edge.ty.bytes(|symbol| size.symbols.get(symbol)).ok_or_else(unknown)?;
        Ok(self.route(edge).map_or(Message { bytes, ..Message::default() }, |route| Message {
            bytes,
            latency_ns: route.latency_ns as f64,
            transfer_ns: route.message_ns(bytes) - route.latency_ns as f64,
            wake_ns: route.wake_ns as f64,
        }))
    }

    /// The way of an edge's messages; none for an edge of the host with a device that has no link to itself.
    pub fn route(&self, edge: &Edge) -> Option<&Route> {
        self.routes.get(edge.id.0 as usize).and_then(Option::as_ref)
    }

    /// What a step takes beside its kernels where nothing else goes on, in nanoseconds: messages from and to the
    /// host one after the other, and waking the host, which sleeps meanwhile.
    pub fn host_ns(&self, size: &StepSize) -> Result<f64, CostError> {
        let mut sum = 0.0;
        let mut wake: f64 = 0.0;
        for edge in &self.plan.edges {
            if edge.from == End::Host || edge.to == End::Host {
                let message = self.message(edge, size)?;
                sum += message.predicted_ns();
                wake = wake.max(if edge.to == End::Host { message.wake_ns } else { 0.0 });
            }
        }
        Ok(sum + wake)
    }
}
