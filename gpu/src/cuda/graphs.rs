//! Lists of launches that come again: recorded when they come for the second time, replayed from then on.
//!
//! What kernels find in memory is no part of a recording, the symbols' values neither: it holds for every step with
//! the same kernels and as many cubes of each. The first time also has the driver load the kernels' code, which it must
//! not while it records.
use super::context::{Context, Module, fault};
use cudarc::driver::result::{graph, stream};
use cudarc::driver::sys;
use runtime::DeviceError;
use std::sync::Arc;

/// How many lists are kept, and how many of those that came once.
const KEPT: usize = 32;
/// The fewest launches that are worth a recording.
const LAUNCHES_MIN: usize = 8;

/// Which kernels with what they are given, and how many cubes of each.
pub(super) type Key = Vec<(u64, [u32; 2])>;

/// The lists that were recorded, and those that came once, what was used last at the end of each.
pub(super) struct Graphs<G> {
    kept: Vec<(Key, G)>,
    seen: Vec<Key>,
}

/// What is to be done with a list.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'a, G> {
    Replay(&'a G),
    Record(Key),
    Launch,
}

impl<G> Graphs<G> {
    pub(super) fn new() -> Graphs<G> {
        Graphs { kept: vec![], seen: vec![] }
    }

    pub(super) fn find(&mut self, key: Key) -> Found<'_, G> {
        if key.len() < LAUNCHES_MIN {
            return Found::Launch;
        }
        if let Some(at) = self.kept.iter().position(|(known, _)| *known == key) {
            self.kept[at..].rotate_left(1);
            return Found::Replay(&self.kept[self.kept.len() - 1].1);
        }
        if let Some(at) = self.seen.iter().position(|known| *known == key) {
            return Found::Record(self.seen.remove(at));
        }
        if self.seen.len() == KEPT {
            self.seen.remove(0);
        }
        self.seen.push(key);
        Found::Launch
    }

    pub(super) fn keep(&mut self, key: Key, graph: G) -> &G {
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        self.kept.push((key, graph));
        &self.kept[self.kept.len() - 1].1
    }
}

/// A recorded list.
pub(super) struct Graph {
    context: Arc<Context>,
    raw: sys::CUgraphExec,
    /// The code that it runs, which stays as long as it does.
    _modules: Vec<Arc<Module>>,
}

// SAFETY: the driver takes its handles from any thread.
unsafe impl Send for Graph {}

impl Graph {
    /// Records what `launch` puts into the stream, of the code of `modules`; nothing is run.
    pub(super) fn record(
        context: &Arc<Context>,
        modules: Vec<Arc<Module>>,
        launch: impl FnOnce() -> Result<(), DeviceError>,
    ) -> Result<Graph, DeviceError> {
        let failed = |error| fault("recording steps", error);
        // Others allocate meanwhile, which only this thread must not.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as the context.
        unsafe { stream::begin_capture(context.stream, mode) }.map_err(failed)?;
        let launched = launch();
        // SAFETY: as above; it ends whatever was launched.
        let captured = unsafe { stream::end_capture(context.stream) };
        let captured = captured.map(Captured);
        launched?;
        let captured = captured.map_err(failed)?;
        // SAFETY: the graph was just made.
        let raw = unsafe { graph::instantiate(captured.0, sys::CUgraphInstantiate_flags(0)) };
        Ok(Graph { context: context.clone(), raw: raw.map_err(failed)?, _modules: modules })
    }

    pub(super) fn replay(&self) -> Result<(), DeviceError> {
        // SAFETY: both live as long as this.
        unsafe { graph::launch(self.raw, self.context.stream) }
            .map_err(|error| fault("replaying steps", error))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        drop(self.context.wait());
        // SAFETY: it was made once, and is not under way.
        let _ = unsafe { graph::exec_destroy(self.raw) };
    }
}

/// What was recorded, of no use once it can be run.
struct Captured(sys::CUgraph);

impl Drop for Captured {
    fn drop(&mut self) {
        // SAFETY: it was made once, and what was made of it does not need it.
        let _ = unsafe { graph::destroy(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(first: u64) -> Key {
        (first..).take(LAUNCHES_MIN).map(|id| (id, [1, 1])).collect()
    }

    #[test]
    fn a_list_is_recorded_the_second_time_and_replayed_from_then_on() {
        let mut graphs = Graphs::new();
        assert_eq!(graphs.find(list(0)), Found::Launch);
        assert_eq!(graphs.find(list(0)), Found::Record(list(0)));
        assert_eq!(*graphs.keep(list(0), 7), 7);
        assert_eq!(graphs.find(list(0)), Found::Replay(&7));
        let mut other = list(0);
        other[0].1 = [2, 1];
        assert_eq!(graphs.find(other), Found::Launch);
        assert_eq!(graphs.find(list(0)[1..].to_vec()), Found::Launch);
        assert_eq!(graphs.find(list(0)[1..].to_vec()), Found::Launch);
    }

    #[test]
    fn what_was_not_used_longest_is_forgotten() {
        let mut graphs = Graphs::new();
        for at in 0..KEPT as u64 {
            graphs.keep(list(at), at);
        }
        assert_eq!(graphs.find(list(0)), Found::Replay(&0));
        graphs.keep(list(99), 99);
        assert_eq!(graphs.find(list(0)), Found::Replay(&0));
        assert_eq!(graphs.find(list(1)), Found::Launch);
        for at in 100..100 + KEPT as u64 {
            graphs.find(list(at));
        }
        assert_eq!(graphs.find(list(1)), Found::Launch);
    }
}
