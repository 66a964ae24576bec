//! Runs in which something fails: they end, soon, with an error that says what failed and who waited for it.
mod code;
mod plans;
mod slots;

use code::{Fault, Gate, Injection, code, place};
use plans::{Built, Design, Shape, WIDTH};
use runtime::{Batch, Cause, Role, RunError, Session, Verdict, Wait};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const CASES: u64 = 1000;
/// Many at once, for they mostly sleep.
const AT_ONCE: usize = 24;
/// Much longer than any case takes, and shorter than the deadlines of those in which nobody gets stuck.
const HANGS: Duration = Duration::from_secs(20);

#[test]
fn a_thousand_failures_end_in_an_error_that_names_them() {
    quiet_panics();
    let (next, writers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed) as u64;
                    if seed >= CASES {
                        break;
                    }
                    let (done, end) = mpsc::channel();
                    std::thread::spawn(move || done.send(failure(seed)));
                    match end.recv_timeout(HANGS) {
                        Ok(waits) => {
                            let full = waits.iter().filter(|w| w.end == Role::Writer).count();
                            writers.fetch_add(full, Ordering::Relaxed);
                        }
                        Err(e) => panic!("case {seed} hangs or failed: {e}"),
                    }
                }
            });
        }
    });
    assert!(writers.into_inner() > 0, "no case had a full edge");
}

/// One run with a failure, and who waited in it.
fn failure(seed: u64) -> Vec<Wait> {
    let mut random = Random(seed);
    let mut faults = vec![Fault::Panic, Fault::PanicOutside, Fault::Block];
    #[cfg(target_os = "linux")]
    faults.push(Fault::Vanish);
    let fault = faults[random.below(faults.len())];
    let ends_itself = matches!(fault, Fault::Panic | Fault::PanicOutside);
    let laps = 1 + random.below(4);
    let design = Design {
        shape: [Shape::Pipeline, Shape::Ring { laps }, Shape::Exchange { times: laps }][random.below(3)],
        devices: 2 + random.below(3) as u32,
        threads: 1 + random.below(2) as u32,
        depth: 1 + random.below(3),
        deadline_ms: if ends_itself { 30_000 } else { 200 },
        in_slots: random.below(2) == 0,
    };
    let built = design.build();
    let (kernel, round) = (random.below(built.deeds.len()), random.below(3) as u32);
    let gate = Arc::new(Gate::default());
    let injection = Injection { fault, kernel, round, gate: gate.clone() };
    let delay = || Duration::from_micros([0, 0, 0, 300, 5000][random.below(5)]);
    let mut session = start(&built, code(&built, Some(injection), delay));
    for _ in 0..round {
        step(&mut session, &built).unwrap();
    }
    // What the logits do not need may fail behind them, so that a later step finds it.
    let mut steps = std::iter::repeat_with(|| step(&mut session, &built)).take(3);
    let verdict = ended(steps.find(Result::is_err).unwrap_or(Ok(())));
    let case = format!("case {seed}, {fault:?} of kernel {kernel} in {design:?}: {verdict}");
    let at = match (&verdict.cause, fault) {
        (Cause::Kernel { at, .. }, Fault::Panic) => at,
        (Cause::Panicked { at, message }, Fault::PanicOutside) if message == "on purpose" => at,
        (Cause::Stuck { at, still }, _) if !ends_itself && *still >= Duration::from_millis(200) => at,
        _ => panic!("{case}"),
    };
    assert_eq!((at.device.clone(), at.step, at.what.clone()), place(&built, kernel), "{case}");
    assert!(ends_itself || verdict.waits.iter().any(|w| w.other == at.device), "{case}");
    assert!(verdict.waits.iter().all(|w| w.other != w.waiter && w.waiter != at.device), "{case}");
    assert!(Arc::ptr_eq(&verdict, &ended(step(&mut session, &built))), "{case}");
    drop(session);
    gate.open();
    verdict.waits.clone()
}

#[test]
fn an_idle_session_and_a_slow_step_are_no_failures() {
    for shape in [Shape::Pipeline, Shape::Ring { laps: 2 }, Shape::Exchange { times: 2 }] {
        let built =
            Design { shape, devices: 3, threads: 1, depth: 2, deadline_ms: 100, in_slots: true }.build();
        // A round takes several deadlines, each of its steps a part of one.
        let mut session = start(&built, code(&built, None, || Duration::from_millis(30)));
        for _ in 0..2 {
            step(&mut session, &built).unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
        assert!(session.watch().devices().all(|d| d.rounds >= 1));
    }
}

#[test]
fn a_full_edge_is_named_with_both_ends() {
    let shape = Shape::Exchange { times: 1 };
    let built = Design { shape, devices: 3, threads: 1, depth: 1, deadline_ms: 100, in_slots: false }.build();
    // What the device in the middle computes, the first one does not need: it is stuck, and the step is done. In the
    // next step it has not taken the first message.
    let kernel = (0..built.deeds.len()).find(|k| place(&built, *k).0 == "cpu:1").unwrap();
    let gate = Arc::new(Gate::default());
    let injection = Injection { fault: Fault::Block, kernel, round: 0, gate: gate.clone() };
    let mut session = start(&built, code(&built, Some(injection), || Duration::ZERO));
    step(&mut session, &built).unwrap();
    let verdict = ended(step(&mut session, &built));
    let text = verdict.to_string();
    assert!(text.starts_with("cpu:1, step 1 (add.2): stuck, no step for "), "{text}");
    let waits = verdict.waits.iter().map(|w| (w.waiter.as_str(), w.end, w.other.as_str(), w.message));
    let expected = [
        ("cpu:0", Role::Writer, "cpu:1", 1),
        ("cpu:2", Role::Reader, "cpu:1", 0),
        ("the host", Role::Reader, "cpu:0", 1),
    ];
    assert_eq!(waits.collect::<Vec<_>>(), expected, "{text}");
    drop(session);
    gate.open();
}

#[test]
fn a_run_is_seen_from_outside() {
    let built = Design {
        shape: Shape::Pipeline,
        devices: 2,
        threads: 1,
        depth: 1,
        deadline_ms: 30_000,
        in_slots: true,
    }
    .build();
    let mut session = start(&built, code(&built, None, || Duration::ZERO));
    let watch = session.watch();
    for _ in 0..3 {
        step(&mut session, &built).unwrap();
    }
    let names: Vec<_> = watch.edges().iter().map(|e| e.edge().name.as_str()).collect();
    assert_eq!(
        names,
        ["tokens", "positions", "slots", "pages", "x", "rows", "whole", "logits", "candidates"]
    );
    for edge in watch.edges() {
        let counters = edge.counters();
        assert_eq!((counters.sent, counters.received, counters.depth()), (3, 3, 0));
        assert_eq!(counters.bytes, 3 * edge.edge().bytes);
    }
    drop(session);
    assert!(watch.devices().all(|d| d.rounds >= 2), "{:?}", watch.devices().collect::<Vec<_>>());
}

fn start(built: &Built, code: Vec<Arc<dyn runtime::Executable>>) -> Session {
    let table: Vec<u8> = (0..WIDTH * WIDTH).flat_map(|i| (i as f32).to_le_bytes()).collect();
    built.plan.verify().unwrap_or_else(|faults| panic!("{faults:#?}"));
    Session::start(&built.plan, &code, Arc::new(table)).unwrap()
}

/// Takes a step of eight tokens; logits are as they must be.
fn step(session: &mut Session, built: &Built) -> Result<(), RunError> {
    let (tokens, ids) = ([3, 1, 4, 1, 5, 9, 2, 6], [0, 1, 2, 3, 4, 5, 6, 7]);
    let batch = Batch { tokens: &tokens, positions: &ids, slots: &[0; 8], rows: &ids, whole: true };
    let answers = session.step(&batch)?;
    let row = |token: i32| (0..WIDTH).map(move |i| (token as usize * WIDTH + i) as f32);
    let expected: Vec<f32> =
        tokens.into_iter().flat_map(row).map(|x| x * 2f32.powi(built.doublings)).collect();
    assert_eq!(answers.logits(), expected);
    Ok(())
}

fn ended(result: Result<(), RunError>) -> Arc<Verdict> {
    match result {
        Err(RunError::Ended(verdict)) => verdict,
        other => panic!("{other:?}"),
    }
}

/// Panics on purpose are no news.
fn quiet_panics() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some("on purpose") {
            told(info);
        }
    }));
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}
