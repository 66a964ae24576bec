//! One replica of a model in a session: how it is fed, what pages its sequences have, where its answers come.
use crate::error::RunError;
use crate::pages::Pages;
use crate::record::{self, Log};
use crate::session::Batch;
use crate::vigil::Vigil;
use crate::watch::Watch;
use crate::{Reader, Writer};
use ir::plan::{End, Plan};
use std::collections::HashMap;

/// The edges that bring the host what it asked for: the logits of rows that are to come whole, the candidates of all.
pub(crate) const ANSWERS: [&str; 2] = ["logits", "candidates"];

/// The host's ends of one replica.
pub(crate) struct Replica {
    /// Which it is.
    index: usize,
    pub(crate) pages: Pages,
    /// Edges to its devices, with what they are fed.
    feeds: Vec<(String, Writer)>,
    /// One for each of [`ANSWERS`].
    results: [Reader; 2],
    /// The numbers of rows, as many as a step can be asked for.
    ordinals: Vec<i32>,
    own: Lines,
}

/// What the host waits with.
pub(crate) struct Host<'a> {
    pub(crate) vigil: &'a mut Vigil,
    pub(crate) watch: &'a Watch,
    /// Where it keeps what it did, if anybody asked.
    pub(crate) log: Option<&'a mut Log>,
}

/// What of a batch is for one of several replicas.
#[derive(Default)]
struct Lines {
    tokens: Vec<i32>,
    positions: Vec<i32>,
    slots: Vec<i32>,
    rows: Vec<i32>,
    /// For each token of the whole batch where it is among the replica's, if it is.
    places: Vec<Option<i32>>,
}

impl Replica {
    /// The replicas of a plan, which get the host's ends.
    pub(crate) fn all(
        plan: &Plan,
        feeds: HashMap<u32, Writer>,
        results: HashMap<u32, Reader>,
    ) -> Result<Vec<Replica>, RunError> {
        let of = |end: End| match end {
            End::Device(device) => plan.replica_of(device),
            End::Host => u32::MAX,
        };
        let mut feeds: Vec<_> = feeds.into_iter().collect();
        feeds.sort_by_key(|(id, _)| *id);
        let mut results: HashMap<(u32, String), Reader> = results
            .into_iter()
            .map(|(id, reader)| (&plan.edges[id as usize], reader))
            .map(|(edge, reader)| ((of(edge.from), edge.name.clone()), reader))
            .collect();
        let rows = plan.symbols.iter().find(|s| s.name == "m").map_or(0, |s| s.max as i32);
        let (batch, row) = (plan.options.replica_batch(), plan.pages_per_sequence());
        let mut replicas = vec![];
        for replica in 0..plan.options.partition.data {
            let mut result = |name: &str| {
                let missing = || RunError::Unsound(format!("no edge brings {name} to the host"));
                results.remove(&(replica, name.to_owned())).ok_or_else(missing)
            };
            replicas.push(Replica {
                index: replica as usize,
                pages: Pages::new(row * batch, plan.options.page as usize, batch as usize, row as usize),
                feeds: vec![],
                results: [result(ANSWERS[0])?, result(ANSWERS[1])?],
                ordinals: (0..rows).collect(),
                own: Lines::default(),
            });
        }
        for (id, writer) in feeds {
            let edge = &plan.edges[id as usize];
            let stray = || RunError::Unsound(format!("{} belongs to no replica", edge.id));
            let replica = replicas.get_mut(of(edge.to) as usize).ok_or_else(stray)?;
            replica.feeds.push((edge.name.clone(), writer));
        }
        Ok(replicas)
    }

    /// Sends a step to the devices.
    pub(crate) fn feed(&mut self, batch: &Batch<'_>, host: &mut Host<'_>) -> Result<(), RunError> {
        let began_ns = host.log.as_ref().map_or(0, |log| log.now_ns());
        for (name, writer) in &mut self.feeds {
            let values = match name.as_str() {
                "tokens" => batch.tokens,
                "positions" => batch.positions,
                "slots" => batch.slots,
                "rows" => batch.rows,
                "whole" => &self.ordinals[..if batch.whole { batch.rows.len() } else { 0 }],
                "pages" => self.pages.table(),
                other => return Err(RunError::Unsound(format!("nobody feeds {other}"))),
            };
            host.vigil.send(host.watch, writer, |slot| {
                let bytes = values.iter().flat_map(|v| v.to_le_bytes());
                slot.iter_mut().zip(bytes).map(|(to, from)| *to = from).count()
            })?;
        }
        if let Some(log) = &mut host.log {
            log.add(self.index, Some(record::size(batch)), began_ns);
        }
        Ok(())
    }

    /// Sends what is for this replica of `data`, if anything is; and says which of the batch's rows each row of its
    /// answers will be.
    pub(crate) fn feed_own(
        &mut self,
        batch: &Batch<'_>,
        data: usize,
        host: &mut Host<'_>,
    ) -> Result<Option<Vec<Option<usize>>>, RunError> {
        let mut own = std::mem::take(&mut self.own);
        own.clear();
        for ((&token, &position), &slot) in batch.tokens.iter().zip(batch.positions).zip(batch.slots) {
            let is_own = slot as usize % data == self.index;
            own.places.push(is_own.then_some(own.tokens.len() as i32));
            if is_own {
                own.tokens.push(token);
                own.positions.push(position);
                own.slots.push((slot as usize / data) as i32);
            }
        }
        let mut asked = vec![];
        for (at, &row) in batch.rows.iter().enumerate() {
            if let Some(place) = own.places[row as usize] {
                own.rows.push(place);
                asked.push(Some(at));
            }
        }
        let is_needed = !own.tokens.is_empty();
        if is_needed {
            if own.rows.is_empty() {
                // A step gives an answer, whether somebody looks at it or not.
                own.rows.push(own.tokens.len() as i32 - 1);
                asked.push(None);
            }
            let Lines { tokens, positions, slots, rows, .. } = &own;
            self.feed(&Batch { tokens, positions, slots, rows, whole: batch.whole }, host)?;
        }
        self.own = own;
        Ok(is_needed.then_some(asked))
    }

    /// Waits for a step's answers, and hands the message of each of [`ANSWERS`] to `take`.
    pub(crate) fn collect(
        &mut self,
        host: &mut Host<'_>,
        mut take: impl FnMut(usize, &[u8]),
    ) -> Result<(), RunError> {
        let began_ns = host.log.as_ref().map_or(0, |log| log.now_ns());
        for (which, result) in self.results.iter_mut().enumerate() {
            host.vigil.recv(host.watch, result, |message| take(which, message))?;
        }
        if let Some(log) = &mut host.log {
            log.add(self.index, None, began_ns);
        }
        Ok(())
    }
}

impl Lines {
    fn clear(&mut self) {
        let lines = [&mut self.tokens, &mut self.positions, &mut self.slots, &mut self.rows];
        lines.into_iter().for_each(Vec::clear);
        self.places.clear();
    }
}
