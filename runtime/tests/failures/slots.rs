//! Plans that use slots of edges in ways that would lose or mix up messages: the verifier refuses them.
use crate::plans::{Design, Shape};
use ir::plan::{Arg, BufferId, EdgeId, Plan, Step};

/// A message from device 0 to device 1 and back, twice, all in slots: edges 4 to 7, and two of the host's behind.
fn plan() -> Plan {
    let shape = Shape::Ring { laps: 2 };
    Design { shape, devices: 2, threads: 1, depth: 2, deadline_ms: 1000, in_slots: true }.build().plan
}

/// The buffers of the two ends of an edge.
fn ends(plan: &Plan, edge: u32) -> [BufferId; 2] {
    let step = |of: fn(&Step) -> Option<(EdgeId, BufferId)>| {
        let mut steps = plan.threads.iter().flat_map(|t| &t.steps).filter_map(of);
        steps.find(|(e, _)| e.0 == edge).map(|(_, buffer)| buffer).unwrap()
    };
    [
        step(|s| if let Step::Send { edge, from } = s { Some((*edge, *from)) } else { None }),
        step(|s| if let Step::Recv { edge, to } = s { Some((*edge, *to)) } else { None }),
    ]
}

fn refused(change: impl FnOnce(&mut Plan), expected: &str) {
    let mut plan = plan();
    assert_eq!(plan.verify(), Ok(()));
    change(&mut plan);
    let faults = plan.verify().unwrap_err();
    let found = faults.iter().any(|fault| fault.message.contains(expected));
    assert!(found, "expected {expected:?} in {faults:#?}");
}

/// Lets the second message from device 0 to device 1 go over the edge of the first; its own is no more.
fn share_an_edge(plan: &mut Plan) {
    plan.edges.remove(6);
    let shared = |edge: &mut EdgeId| match edge.0 {
        6 => edge.0 = 4,
        behind if behind > 6 => edge.0 = behind - 1,
        _ => {}
    };
    plan.edges.iter_mut().for_each(|edge| shared(&mut edge.id));
    plan.buffers.iter_mut().filter_map(|b| b.slot.as_mut()).for_each(shared);
    for step in plan.threads.iter_mut().flat_map(|t| &mut t.steps) {
        if let Step::Send { edge, .. } | Step::Recv { edge, .. } = step {
            shared(edge);
        }
    }
}

/// Lets the last doubling on a device double `buffer`.
fn double_last(plan: &mut Plan, device: usize, buffer: BufferId) {
    for step in plan.threads[device].steps.iter_mut().rev() {
        if let Step::Run { args, .. } = step
            && args[0] == args[1]
        {
            (args[0], args[1]) = (Arg::B(buffer), Arg::B(buffer));
            return;
        }
    }
    panic!("device {device} doubles nothing")
}

#[test]
fn a_slot_is_one_of_the_devices_own_edges_and_types() {
    let slot = |plan: &mut Plan, slot| {
        let [sent, _] = ends(plan, 4);
        plan.buffers[sent.0 as usize].slot = Some(EdgeId(slot));
    };
    refused(|plan| slot(plan, 99), "lies in a slot of edge 99, which there is not");
    refused(|plan| slot(plan, 0), "lies in a slot of edge 0, which carries i32[n]");
    let shift = |plan: &mut Plan| {
        let [sent, _] = ends(plan, 4);
        plan.buffers[sent.0 as usize].offset = 64;
    };
    refused(shift, "at offset 64, expected 0");
    refused(|plan| slot(plan, 5), "lies in a slot of edge 5 that device 0 reads");
}

#[test]
fn what_is_sent_is_read_no_longer_than_it_lies_there() {
    let late = |plan: &mut Plan| {
        let [sent, _] = ends(plan, 4);
        double_last(plan, 0, sent);
    };
    let mut sound = plan();
    late(&mut sound);
    assert_eq!(sound.verify(), Ok(()), "nothing else is sent over this edge");
    refused(
        |plan| {
            share_an_edge(plan);
            late(plan);
        },
        "whose slot can hold the next message by now",
    );
}

#[test]
fn what_is_received_is_given_back_in_order() {
    refused(
        |plan| {
            let [_, first] = ends(plan, 4);
            share_an_edge(plan);
            double_last(plan, 1, first);
        },
        "before what came earlier over edge 4",
    );
}

#[test]
fn a_slot_that_is_claimed_is_sent() {
    refused(
        |plan| {
            let [_, other] = ends(plan, 5);
            for step in &mut plan.threads[0].steps {
                if let Step::Send { edge: EdgeId(6), from } = step {
                    *from = other;
                }
            }
        },
        "lies in a slot of edge 6 and is never sent",
    );
}

#[test]
fn as_many_rounds_can_be_under_way_as_the_plan_says() {
    refused(|plan| plan.options.micro_batches = 8, "the host waits here for ever at edge ");
    let mut roomy = plan();
    roomy.options.micro_batches = 8;
    roomy.edges.iter_mut().for_each(|e| e.capacity = 8);
    roomy.memory = roomy.prove_memory(0);
    assert_eq!(roomy.verify(), Ok(()));
}
