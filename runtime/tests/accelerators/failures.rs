//! Accelerators that fail: the run ends by name, or does not begin, and the process lives.
use crate::code::{Fault, Gate, Injection, code, place};
use crate::mock::{Asked, Mock, Trouble};
use crate::plans::Shape;
use crate::{built, design, engines, start, take, weights};
use ir::plan::EdgeId;
use runtime::{Cause, DeviceError, Engine, RunError, Session, Times, Verdict};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Much longer than any case takes, and shorter than the deadlines of those in which nobody gets stuck.
const HANGS: Duration = Duration::from_secs(20);

/// What comes of something that might hang.
fn within<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, end) = mpsc::channel();
    std::thread::spawn(move || done.send(body()));
    end.recv_timeout(HANGS).expect("it hangs or failed")
}

fn ended(result: Result<(), RunError>) -> Arc<Verdict> {
    match result {
        Err(RunError::Ended(verdict)) => verdict,
        other => panic!("{other:?}"),
    }
}

/// Trouble in a round, with what the device says of it.
type Make = fn(usize, DeviceError) -> Trouble;

#[test]
fn what_fails_ends_the_run_by_name() {
    let lost = DeviceError::Lost { reason: "it fell off the bus".into() };
    let illegal = DeviceError::Kernel { name: "add".into(), reason: "an illegal address".into() };
    let run = "gpu:0, step 4 (gather.0)";
    let read = "gpu:0, step 6 (sending x, edge 4)";
    // What has seemed to go well is told by who waits for it.
    for (make, error, at) in [(Trouble::Run as Make, lost, run), (Trouble::Late, illegal, read)] {
        for round in 0..3 {
            let trouble = make(round, error.clone());
            let verdict = within(move || fail(trouble, round));
            let Cause::Device { at: found, cause } = &verdict.cause else { panic!("{verdict}") };
            assert_eq!((found.to_string().as_str(), cause), (at, &error));
        }
    }
    for (trouble, at) in [(Trouble::PanicInRun(1), run), (Trouble::PanicInRead, read)] {
        let round = usize::from(at == run);
        let verdict = within(move || fail(trouble, round));
        let text = verdict.to_string();
        assert!(text.starts_with(&format!("{at}: the thread panicked: on purpose")), "{text}");
    }
}

/// A run of an accelerator before a team that comes to an end in a round.
fn fail(trouble: Trouble, round: usize) -> Arc<Verdict> {
    let built = built(&design(Shape::Pipeline, 2, 1), &[0]);
    let (mut session, asked) = start(&built, &[0], Duration::ZERO, Some(trouble), Times::None);
    (0..round).for_each(|_| take(&mut session, 8, 8).unwrap());
    let verdict = ended(take(&mut session, 8, 8));
    assert!(Arc::ptr_eq(&verdict, &ended(take(&mut session, 8, 8))));
    assert!(verdict.waits.iter().all(|w| w.waiter != "gpu:0"), "{verdict}");
    drop(session);
    assert_eq!(asked[0].lock().unwrap().last(), Some(&Asked::Leave));
    verdict
}

#[test]
fn what_cannot_be_loaded_starts_nothing() {
    let none =
        || DeviceError::OutOfMemory { what: "weights".into(), bytes: 1 << 40, free_bytes: Some(1 << 30) };
    let no_code =
        || DeviceError::Unsupported { what: "kernel add".into(), reason: "no code was made".into() };
    let panicked = "gpu:1: panicked while it was loaded: on purpose";
    let cases = [
        (Trouble::Load(none()), format!("gpu:1: {}", none())),
        (Trouble::Load(no_code()), format!("gpu:1: {}", no_code())),
        (Trouble::PanicInLoad, panicked.to_string()),
    ];
    for (trouble, expected) in cases {
        within(move || {
            let built = built(&design(Shape::Pipeline, 2, 1), &[0, 1]);
            let (mut engines, mut asked) = engines(&built, &[0], Duration::ZERO, None);
            let (mock, its_asked) = Mock::new(&built, Duration::ZERO, Some(trouble));
            engines[1] = Engine::Accelerator(mock);
            asked.push(its_asked);
            match Session::start_on(&built.plan, engines, weights(), Times::None) {
                Err(error @ RunError::Device { .. }) => assert_eq!(error.to_string(), expected),
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("it starts"),
            }
            let load_and_leave = [Asked::Load, Asked::Leave];
            assert!(asked.iter().all(|asked| *asked.lock().unwrap() == load_and_leave));
        });
    }
    let text = none().to_string();
    let expected =
        "no room for 1099511627776 bytes of weights, found 1073741824 free; end what else runs there";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_peer_that_fails_wakes_an_accelerator() {
    let verdict = within(|| {
        let built = built(&design(Shape::Pipeline, 2, 1), &[1]);
        let gate = Arc::new(Gate::default());
        let injection = Injection { fault: Fault::Panic, kernel: 0, round: 1, gate };
        let team = Engine::team(&code(&built, Some(injection), || Duration::ZERO));
        let (mock, asked) = Mock::new(&built, Duration::ZERO, None);
        let engines = vec![team, Engine::Accelerator(mock)];
        let mut session = Session::start_on(&built.plan, engines, weights(), Times::None).unwrap();
        take(&mut session, 8, 8).unwrap();
        let verdict = ended(take(&mut session, 8, 8));
        let Cause::Kernel { at, .. } = &verdict.cause else { panic!("{verdict}") };
        assert_eq!((at.device.clone(), at.step, at.what.clone()), place(&built, 0));
        drop(session);
        assert_eq!(asked.lock().unwrap().last(), Some(&Asked::Leave));
        verdict
    });
    assert!(verdict.waits.iter().all(|w| w.waiter != "cpu:0"), "{verdict}");
}

#[test]
fn an_accelerator_that_never_answers_is_left_behind() {
    let (release, released) = mpsc::channel();
    let verdict = within(|| {
        let mut design = design(Shape::Pipeline, 2, 2);
        design.deadline_ms = 100;
        let built = built(&design, &[1]);
        let trouble = Some(Trouble::Block(released));
        let (mut session, _) = start(&built, &[1], Duration::ZERO, trouble, Times::None);
        ended(take(&mut session, 8, 8))
    });
    let text = verdict.to_string();
    assert!(text.starts_with("gpu:1, step 1 (add.3): stuck, no step for "), "{text}");
    drop(release);
}

#[test]
fn engines_that_do_not_fit_the_plan_are_refused() {
    let on_teams = design(Shape::Pipeline, 2, 1).build();
    let refused = |engines: Vec<Engine>, expected: &str| match Session::start_on(
        &on_teams.plan,
        engines,
        weights(),
        Times::None,
    ) {
        Err(error) => assert_eq!(error.to_string(), expected),
        Ok(_) => panic!("it starts"),
    };
    let teams = || engines(&on_teams, &[], Duration::ZERO, None).0;
    let accelerators = || engines(&on_teams, &[1], Duration::ZERO, None).0;
    refused(vec![], "engines: found 0, expected 2");
    let (buffer, slot) = on_teams
        .plan
        .buffers
        .iter()
        .find_map(|b| Some((b.id, b.slot?)))
        .filter(|(_, e)| *e == EdgeId(4))
        .unwrap();
    let received = on_teams.plan.buffers.iter().find(|b| b.slot == Some(slot) && b.id != buffer).unwrap().id;
    refused(
        accelerators(),
        &format!(
            "the plan is unsound: {received} lies in a slot of edge 4, which is memory of the host; expected it in \
             the arena of cpu:1"
        ),
    );
    let mut without = teams();
    if let Engine::Team(code) = &mut without[1] {
        // The first device's kernels are not the second one's business.
        code[0] = None;
        code[3] = None;
    }
    refused(
        without,
        "cpu:1: found no code for kernel gather, expected some for every kernel that its steps run",
    );
    let mut too_few = teams();
    too_few[0] = Engine::team(&[]);
    refused(too_few, "kernels: found 0, expected 7");
}
