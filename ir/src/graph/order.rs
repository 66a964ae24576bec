//! Topological order, stable by creation: every node after its inputs, ties in order of id.
use super::{Graph, NodeId};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

impl Graph {
    /// Every node after all of its inputs; ties in order of creation, so that text is stable.
    ///
    /// The graph must have no cycle: `add` cannot make one, and the text reader refuses them.
    pub fn order(&self) -> Vec<NodeId> {
        let mut waiting: HashMap<NodeId, usize> = HashMap::with_capacity(self.len());
        let mut ready = BinaryHeap::new();
        for n in self.nodes() {
            let mut inputs = self.inputs(n);
            inputs.sort_unstable();
            inputs.dedup();
            match inputs.len() {
                0 => ready.push(Reverse(n)),
                count => drop(waiting.insert(n, count)),
            }
        }
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse(n)) = ready.pop() {
            order.push(n);
            for user in self.users(n) {
                let left = waiting.get_mut(&user).expect("a user waits for its inputs");
                *left -= 1;
                if *left == 0 {
                    ready.push(Reverse(user));
                }
            }
        }
        assert_eq!(order.len(), self.len(), "a graph has no cycle");
        order
    }
}
