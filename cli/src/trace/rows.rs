//! The rows of a trace: what was measured, with what was predicted beside it, and what was predicted alone.
use super::events::{Group, MessageEnd, Stretch, Writer};
use super::rounds::{Predicted, Rounds};
use ir::plan::{Edge, EdgeId, End, Plan, Step};
use runtime::Record;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, Write};

/// The host's row; a device thread's follow.
const HOST: usize = 0;

/// What the rows of a trace are made of.
pub(super) struct Rows<'a> {
    pub(super) plan: &'a Plan,
    pub(super) record: &'a Record,
    pub(super) rounds: &'a Rounds,
    /// None where nothing could be predicted.
    pub(super) predicted: Option<&'a Predicted>,
    /// What is 0 in the trace.
    pub(super) start_ns: u64,
}

/// The ends of messages, by edge, replica and round, in the order of the steps.
type Ends = HashMap<(EdgeId, usize, u64), Vec<MessageEnd>>;

impl Rows<'_> {
    /// Writes what was measured.
    pub(super) fn measured<W: Write>(&self, trace: &mut Writer<W>) -> io::Result<()> {
        self.names(trace, Group::Measured)?;
        let (mut sent, mut received) = (Ends::new(), Ends::new());
        self.host(trace, &mut sent, &mut received)?;
        for thread in 0..self.plan.threads.len() {
            self.thread(trace, thread, &mut sent, &mut received)?;
        }
        let mut keys: Vec<_> = sent.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            let name = &self.plan.edges[key.0.0 as usize].name;
            let arrived = received.get(&key).map(Vec::as_slice).unwrap_or_default();
            for (from, to) in sent[&key].iter().zip(arrived) {
                trace.arrow(Group::Measured, name, *from, *to)?;
            }
        }
        Ok(())
    }

    /// Writes what was predicted.
    pub(super) fn predicted<W: Write>(&self, trace: &mut Writer<W>) -> io::Result<()> {
        let Some(Predicted { spans, rounds }) = self.predicted else { return Ok(()) };
        self.names(trace, Group::Predicted)?;
        let mut free_ns = 0;
        for (round, at) in rounds {
            // Of several under way the host waits for one after the other.
            let waits = Stretch { begin_ns: at.begin_ns.max(free_ns), ..*at };
            free_ns = at.end_ns;
            let args = json!({ "round": self.name(0, *round), "round_predicted_us": at.us() });
            let row = (Group::Predicted, HOST);
            trace.stretch(row, self.since(waits), ("wait for logits", "receive"), args)?;
        }
        for (thread, of) in self.plan.threads.iter().enumerate() {
            let row = (Group::Predicted, thread + 1);
            for round in rounds.keys() {
                let mut own: Vec<_> =
                    spans.range((thread, *round, 0)..=(thread, *round, usize::MAX)).collect();
                own.sort_by_key(|(key, at)| (at.begin_ns, key.2));
                let (Some(first), Some(last)) = (own.first(), own.last()) else { continue };
                let whole = Stretch { begin_ns: first.1.begin_ns, end_ns: last.1.end_ns };
                let name = self.name(0, *round);
                trace.stretch(
                    row,
                    self.since(whole),
                    (&name, "round"),
                    json!({ "predicted_us": whole.us() }),
                )?;
                for ((_, _, step), at) in own {
                    let mut args = self.told(&of.steps[*step], *step);
                    args["predicted_us"] = at.us().into();
                    trace.stretch(row, self.since(*at), self.step_name(&of.steps[*step]).as_pair(), args)?;
                }
            }
        }
        Ok(())
    }

    fn names<W: Write>(&self, trace: &mut Writer<W>, group: Group) -> io::Result<()> {
        trace.row(group, HOST, "host")?;
        for (thread, of) in self.plan.threads.iter().enumerate() {
            trace.row(group, thread + 1, &self.end_name(End::Device(of.device)))?;
        }
        Ok(())
    }

    fn host<W: Write>(&self, trace: &mut Writer<W>, sent: &mut Ends, received: &mut Ends) -> io::Result<()> {
        for deed in &self.record.host {
            let at = self.since(Stretch { begin_ns: deed.began_ns, end_ns: deed.ended_ns });
            let (row, end) = ((Group::Measured, HOST), MessageEnd { row: HOST, at });
            let is_own = |other: End| match other {
                End::Device(device) => self.plan.replica_of(device) as usize == deed.replica,
                End::Host => false,
            };
            let mut args = json!({ "round": self.name(deed.replica, deed.round), "measured_us": at.us() });
            let (what, cat, ends) = match deed.fed {
                Some(_) => ("feed", "send", &mut *sent),
                None => ("wait for logits", "receive", &mut *received),
            };
            for edge in &self.plan.edges {
                let (near, far) =
                    if deed.fed.is_some() { (edge.from, edge.to) } else { (edge.to, edge.from) };
                if near == End::Host && is_own(far) {
                    ends.entry((edge.id, deed.replica, deed.round)).or_default().push(end);
                }
            }
            if deed.fed.is_none() {
                let fed = self.rounds.get(deed.replica, deed.round);
                if let Some(fed) = fed {
                    let round = Stretch { begin_ns: fed.began_ns, end_ns: deed.ended_ns };
                    args["round_measured_us"] = round.us().into();
                }
                if let Some(round) = self.predicted.and_then(|p| p.rounds.get(&deed.round)) {
                    args["round_predicted_us"] = round.us().into();
                }
            }
            trace.stretch(row, at, (what, cat), args)?;
        }
        Ok(())
    }

    fn thread<W: Write>(
        &self,
        trace: &mut Writer<W>,
        thread: usize,
        sent: &mut Ends,
        received: &mut Ends,
    ) -> io::Result<()> {
        let of = &self.plan.threads[thread];
        let (row, replica) = ((Group::Measured, thread + 1), self.plan.replica_of(of.device) as usize);
        for round in self.record.threads.get(thread).into_iter().flatten() {
            let Some(fed) = self.rounds.get(replica, round.number) else { continue };
            let mut at = Stretch { begin_ns: round.began_ns, end_ns: round.began_ns };
            let whole = Stretch { end_ns: round.ended_ns.last().copied().unwrap_or(round.began_ns), ..at };
            let whole = self.since(whole);
            trace.stretch(row, whole, (&fed.name, "round"), json!({ "measured_us": whole.us() }))?;
            for ((index, step), end_ns) in of.steps.iter().enumerate().zip(&round.ended_ns) {
                at = Stretch { begin_ns: at.end_ns, end_ns: *end_ns };
                let shown = self.since(at);
                let mut args = self.told(step, index);
                args["measured_us"] = shown.us().into();
                if let Some(Predicted { spans, .. }) = self.predicted.filter(|_| replica == 0)
                    && !matches!(step, Step::Send { .. })
                {
                    // Who is not predicted to wait does not; of sending nothing is predicted.
                    let span = spans.get(&(thread, round.number, index));
                    args["predicted_us"] = span.map_or(0.0, |at| at.us()).into();
                }
                if let Step::Send { edge, .. } | Step::Recv { edge, .. } = step {
                    let symbols = &fed.size.symbols;
                    args["bytes"] = json!(self.edge(*edge).ty.bytes(|symbol| symbols.get(symbol)));
                    let ends = if let Step::Send { .. } = step { &mut *sent } else { &mut *received };
                    let end = MessageEnd { row: thread + 1, at: shown };
                    ends.entry((*edge, replica, round.number)).or_default().push(end);
                }
                trace.stretch(row, shown, self.step_name(step).as_pair(), args)?;
            }
        }
        Ok(())
    }

    /// What is to be known of a step, whenever it is taken.
    fn told(&self, step: &Step, index: usize) -> Value {
        match step {
            Step::Run { kernel, .. } => {
                let kernel = &self.plan.kernels[kernel.0 as usize];
                json!({ "step": index, "op": kernel.op.0, "kernel": kernel.name })
            }
            Step::Recv { edge, .. } => {
                json!({ "step": index, "edge": edge.0, "from": self.end_name(self.edge(*edge).from) })
            }
            Step::Send { edge, .. } => {
                json!({ "step": index, "edge": edge.0, "to": self.end_name(self.edge(*edge).to) })
            }
        }
    }

    fn step_name(&self, step: &Step) -> Named {
        match step {
            Step::Run { kernel, node, .. } if node.is_empty() => {
                Named(self.plan.kernels[kernel.0 as usize].name.clone(), "kernel")
            }
            Step::Run { node, .. } => Named(node.clone(), "kernel"),
            Step::Recv { edge, .. } => Named(format!("receive {}", self.edge(*edge).name), "receive"),
            Step::Send { edge, .. } => Named(format!("send {}", self.edge(*edge).name), "send"),
        }
    }

    fn edge(&self, id: EdgeId) -> &Edge {
        &self.plan.edges[id.0 as usize]
    }

    fn end_name(&self, end: End) -> String {
        match end {
            End::Host => "host".to_owned(),
            End::Device(id) => self.plan.devices[id.0 as usize].name.clone(),
        }
    }

    fn name(&self, replica: usize, round: u64) -> String {
        self.rounds.get(replica, round).map_or_else(String::new, |fed| fed.name.clone())
    }

    /// A stretch as the trace counts time; what lies before its beginning is cut off.
    fn since(&self, at: Stretch) -> Stretch {
        let since = |ns: u64| ns.saturating_sub(self.start_ns);
        Stretch { begin_ns: since(at.begin_ns), end_ns: since(at.end_ns) }
    }
}

/// A name and what it names.
struct Named(String, &'static str);

impl Named {
    fn as_pair(&self) -> (&str, &'static str) {
        (&self.0, self.1)
    }
}
