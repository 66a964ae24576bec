//! Topological order, stable by creation: every node after its inputs, ties in order of id.
use super::{Graph, NodeId};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

impl Graph {
    /// Every node after all of its inputs; ties in order of creation, so that text is stable.
    ///
    /// The graph must have no cycle: neither `add` nor the text reader can make one.
    pub fn order(&self) -> Vec<NodeId> {
        self.order_if_acyclic().expect("a graph has no cycle")
    }

    /// The same, or `None` if there is a cycle: only a pass that misuses `replace` makes one.
    pub fn order_if_acyclic(&self) -> Option<Vec<NodeId>> {
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
        (order.len() == self.len()).then_some(order)
    }
}
