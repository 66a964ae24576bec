//! Plans of which an accelerator takes part or all: what it is asked, what comes of it, and how it fails.
#[path = "../failures/code.rs"]
#[expect(dead_code, reason = "most of what befalls a team is tried where only teams are")]
mod code;
mod failures;
mod mock;
#[path = "../failures/plans.rs"]
mod plans;

use ir::plan::{BufferId, Phase, Step, aligned};
use ir::topology::Kind;
use mock::{Asked, Mock, Trouble};
use plans::{Built, Design, Shape, WIDTH, top_k};
use runtime::{Batch, Engine, Row, RunError, Session, Times, Weights};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TOKENS: [i32; 8] = [3, 1, 4, 1, 5, 9, 2, 6];

#[test]
fn an_accelerator_computes_what_a_team_does() {
    for depth in [1, 3] {
        let design = design(Shape::Pipeline, 1, depth);
        compare(&design, &[0]);
    }
}

#[test]
fn accelerators_and_teams_compute_together() {
    for shape in [Shape::Pipeline, Shape::Ring { laps: 3 }, Shape::Exchange { times: 2 }] {
        for accelerators in [&[0][..], &[1], &[0, 1]] {
            compare(&design(shape, 2, 2), accelerators);
        }
    }
}

#[test]
fn steps_between_messages_are_asked_for_at_once() {
    let built = built(&design(Shape::Pipeline, 1, 3), &[0]);
    let (mut session, asked) = start(&built, &[0], Duration::ZERO, None, Times::None);
    let asked = &asked[0];
    take(&mut session, 8, 8).unwrap();
    take(&mut session, 3, 1).unwrap();
    drop(session);
    let step = |n: i64, m: i64, w: i64, earlier: [i64; 2]| {
        let write = |(buffer, numbers): (u32, i64)| Asked::Write(BufferId(buffer), numbers as usize * 4);
        let mut step: Vec<_> = [(0, n), (1, n), (2, n), (3, 4)].map(write).into();
        step.push(Asked::Run(4..8, vec![n, earlier[0], earlier[1]]));
        step.push(write((8, m)));
        step.push(Asked::Run(9..10, vec![n, m, earlier[1]]));
        step.push(write((10, w)));
        step.push(Asked::Run(11..12, vec![n, m, w]));
        step.push(Asked::Read(BufferId(11), w as usize * WIDTH * 4));
        step.push(Asked::Run(13..15, vec![n, m, w]));
        step.push(Asked::Read(BufferId(13), m as usize * WIDTH * 4));
        step
    };
    let (first, second) = (step(8, 8, 8, [0, 0]), step(3, 1, 0, [8, 8]));
    let expected = [vec![Asked::Load], first, second, vec![Asked::Leave]].concat();
    assert_eq!(*asked.lock().unwrap(), expected);
}

#[test]
fn where_times_are_kept_each_step_has_its_own() {
    const DELAY: Duration = Duration::from_millis(2);
    let built = built(&design(Shape::Pipeline, 2, 2), &[1]);
    let thread = &built.plan.threads[1];
    let runs = |step: usize| matches!(thread.steps[step], Step::Run { .. });
    // What runs waits in the mock's queue, so a time is as long as that only where it was waited for.
    let check = |times: &[Duration]| {
        assert_eq!(times.len(), thread.steps.len());
        times.iter().enumerate().for_each(|(step, time)| assert!(!runs(step) || *time >= DELAY, "{times:?}"));
    };
    let (mut session, asked) = start(&built, &[1], DELAY, None, Times::Kernels);
    take(&mut session, 8, 8).unwrap();
    let times = session.take_times();
    check(&times[1]);
    assert!((0..thread.steps.len()).all(|step| runs(step) || times[1][step] == Duration::ZERO));
    drop(session);
    let asked = asked[0].lock().unwrap();
    let ranges = asked.iter().filter_map(|asked| if let Asked::Run(r, _) = asked { Some(r) } else { None });
    let alone: Vec<_> =
        (0..thread.steps.len()).filter(|step| runs(*step)).map(|step| step..step + 1).collect();
    assert!(ranges.eq(&alone), "{asked:?}");

    let (mut session, _) = start(&built, &[1], DELAY, None, Times::Steps { rounds: 4 });
    (0..2).for_each(|_| take(&mut session, 8, 8).unwrap());
    let record = session.record();
    assert_eq!(record.threads[1].len(), 2);
    for round in &record.threads[1] {
        let began = [round.began_ns].into_iter().chain(round.ended_ns.iter().copied());
        let times = began.zip(&round.ended_ns).map(|(began, ended)| Duration::from_nanos(ended - began));
        check(&times.collect::<Vec<_>>());
    }
}

#[test]
fn what_an_accelerator_holds_is_counted_with_its_slots() {
    let built = built(&design(Shape::Pipeline, 2, 2), &[0]);
    let (session, _) = start(&built, &[0], Duration::ZERO, None, Times::None);
    let [accelerator, team] = session.memory()[..] else { panic!("two devices") };
    let stated = built.plan.memory.iter().find(|m| m.phase == Phase::Prefill).unwrap();
    let kept = built.plan.edges.iter().filter(|e| e.keeper() == Some(accelerator.device));
    // A slot begins where a line does.
    let more: u64 = kept.map(|e| (aligned(e.bytes) - e.bytes) * u64::from(e.capacity)).sum();
    assert_eq!((accelerator.bytes, accelerator.resident_bytes), (stated.own() + more, None));
    assert_eq!(team.resident_bytes, Some(team.bytes));
}

fn design(shape: Shape, devices: u32, depth: usize) -> Design {
    Design { shape, devices, threads: 1, depth, deadline_ms: 30_000, in_slots: true }
}

/// A plan in which some devices are accelerators, and have all values in memory of their own.
fn built(design: &Design, accelerators: &[usize]) -> Built {
    let mut built = design.build();
    let plan = &mut built.plan;
    for &device in accelerators {
        plan.devices[device].kind = Kind::Gpu;
        plan.devices[device].name = format!("gpu:{device}");
        let arena = &mut plan.threads[device].arena_bytes;
        for buffer in plan.buffers.iter_mut().filter(|b| b.device.0 as usize == device) {
            if buffer.slot.take().is_some() {
                buffer.offset = *arena;
                *arena = aligned(*arena + buffer.bytes);
            }
        }
    }
    plan.memory = plan.prove_memory(0);
    plan.verify().unwrap_or_else(|faults| panic!("{faults:#?}"));
    built
}

fn weights() -> Weights {
    Arc::new((0..WIDTH * WIDTH).flat_map(|i| (i as f32).to_le_bytes()).collect::<Vec<u8>>())
}

/// What the accelerators of a plan are asked, each by itself.
type AllAsked = Vec<Arc<Mutex<Vec<Asked>>>>;

/// Engines for a plan; `trouble` befalls the first accelerator.
fn engines(
    built: &Built,
    accelerators: &[usize],
    delay: Duration,
    mut trouble: Option<Trouble>,
) -> (Vec<Engine>, AllAsked) {
    let (code, mut all_asked) = (code::code(built, None, || Duration::ZERO), vec![]);
    let engine = |device| match accelerators.contains(&device) {
        true => {
            let (mock, asked) = Mock::new(built, delay, trouble.take());
            all_asked.push(asked);
            Engine::Accelerator(mock)
        }
        false => Engine::team(&code),
    };
    let engines = (0..built.plan.threads.len()).map(engine).collect();
    (engines, all_asked)
}

fn start(
    built: &Built,
    accelerators: &[usize],
    delay: Duration,
    trouble: Option<Trouble>,
    times: Times,
) -> (Session, AllAsked) {
    let (engines, asked) = engines(built, accelerators, delay, trouble);
    (Session::start_on(&built.plan, engines, weights(), times).unwrap(), asked)
}

/// Takes steps of several sizes with some devices as accelerators, and with none.
fn compare(design: &Design, accelerators: &[usize]) {
    let (near, far) = (design.build(), built(design, accelerators));
    let code = code::code(&near, None, || Duration::ZERO);
    let mut expected = Session::start(&near.plan, &code, weights()).unwrap();
    let (mut session, asked) = start(&far, accelerators, Duration::ZERO, None, Times::None);
    for (n, m) in [(8, 8), (3, 2), (1, 1), (8, 1)] {
        take(&mut expected, n, m).unwrap();
        take(&mut session, n, m).unwrap();
        let [found, expected] =
            [&session, &expected].map(|session| session.answers().rows().collect::<Vec<_>>());
        assert_eq!(found, expected, "{design:?} on {accelerators:?}");
        for (found, token) in found.into_iter().zip(&TOKENS[n - m..n]) {
            let row: [f32; WIDTH] = std::array::from_fn(|i| (*token as usize * WIDTH + i) as f32);
            let row = row.map(|x| x * 2f32.powi(near.doublings));
            let best = top_k(row);
            let (logits, tokens) = best.split_at(WIDTH / 2);
            let meant = if m > 1 { Row::Whole(&row) } else { Row::Best { logits, tokens, of: WIDTH } };
            assert_eq!(found, meant, "{design:?} on {accelerators:?}");
        }
    }
    drop(session);
    let all_leave = asked.iter().all(|asked| asked.lock().unwrap().last() == Some(&Asked::Leave));
    assert!(all_leave && asked.len() == accelerators.len());
}

/// Takes a step of `n` tokens that asks for the last `m`, whole where these are several.
fn take(session: &mut Session, n: usize, m: usize) -> Result<(), RunError> {
    let ids = [0, 1, 2, 3, 4, 5, 6, 7];
    let batch = Batch {
        tokens: &TOKENS[..n],
        positions: &ids[..n],
        slots: &[0; 8][..n],
        rows: &ids[n - m..n],
        whole: m > 1,
    };
    session.step(&batch).map(drop)
}
