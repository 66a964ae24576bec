//! Keys that go from step to step of the plan, where lanes and buffers are looked at.
use super::{Action, Side};
use crate::document::{NodeIx, PlanView, StepAt};
use eframe::egui::{Key, Response, Ui};

/// Goes to the step before or behind that of the selected node, of one thread or of the thread that has it.
pub(crate) fn listen(
    ui: &Ui,
    response: &Response,
    (side, thread): (&Side, Option<usize>),
    selected: Option<NodeIx>,
    actions: &mut Vec<Action>,
) {
    let Some(plan) = side.document.plan.as_ref().filter(|_| response.has_focus()) else { return };
    for (key, by) in [(Key::ArrowUp, -1), (Key::ArrowDown, 1)] {
        if ui.input(|input| input.key_pressed(key)) {
            let next = beside(plan, thread, selected, by);
            actions.extend(next.map(|node| Action::Reveal(side.spot_of_plan(node))));
        }
    }
}

/// The node of the next step of a thread that computes one; the first where none is selected that it computes.
fn beside(plan: &PlanView, thread: Option<usize>, selected: Option<NodeIx>, by: isize) -> Option<NodeIx> {
    let first = |node: NodeIx, thread: Option<usize>| {
        let is_here = |at: &&StepAt| thread.is_none_or(|thread| thread == at.thread as usize);
        plan.steps.get(&node)?.iter().find(is_here).copied()
    };
    let at = selected.and_then(|node| first(node, thread));
    let thread = at.map_or(thread.unwrap_or(0), |at| at.thread as usize);
    let nodes = plan.nodes.get(thread)?;
    // Steps that send or receive a value do not compute it.
    let computed = |step: usize| {
        nodes[step].filter(|node| first(*node, Some(thread)).is_some_and(|at| at.step as usize == step))
    };
    match at {
        Some(at) if by < 0 => (0..at.step as usize).rev().find_map(computed),
        Some(at) => (at.step as usize + 1..nodes.len()).find_map(computed),
        None => (0..nodes.len()).find_map(computed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use std::path::Path;

    #[test]
    fn every_node_of_a_thread_is_come_by_in_order_and_none_of_another() {
        let text = include_str!("../../tests/fixtures/two_stages.ron");
        let document = Document::of_plan_text(Path::new("plan"), text).unwrap();
        let plan = document.plan.as_ref().unwrap();
        for thread in [0, 1] {
            let mut come_by = vec![beside(plan, Some(thread), None, 1).unwrap()];
            while let Some(next) = beside(plan, None, come_by.last().copied(), 1) {
                assert_eq!(beside(plan, Some(thread), Some(next), -1), come_by.last().copied());
                come_by.push(next);
            }
            let is_here = |steps: &&Vec<StepAt>| steps.iter().any(|at| at.thread as usize == thread);
            assert_eq!(come_by.len(), plan.steps.values().filter(is_here).count());
        }
    }
}
