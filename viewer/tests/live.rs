//! Watching a run by its socket, of which the test is the other end.
use ir::live::{EVERY_MS, EdgeNow, Ending, Frame, Hello, Line, ThreadNow, VERSION};
use ir::plan::Plan;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use viewer::live::{Live, MOMENTS_KEPT, State};
use viewer::wake::nobody;

/// What `heddle compile tests/fixtures/tiny/gguf/llama.gguf --devices cpu:0,cpu:1 --partition pipeline:2 --context 16`
/// made.
fn plan() -> Plan {
    Plan::from_text(include_str!("fixtures/two_stages.ron")).expect("a plan")
}

struct Run {
    folder: tempfile::TempDir,
    listener: UnixListener,
}

impl Run {
    fn new() -> Run {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        Run { folder, listener }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// One who watches, and the other end of the line.
    fn watched(&self) -> (Live, UnixStream) {
        let live = Live::attach(&self.socket(), nobody());
        (live, self.listener.accept().unwrap().0)
    }
}

fn hello(plan: &str) -> String {
    let (plan_hash, plan) = (String::new(), plan.to_owned());
    let hello = Hello {
        version: VERSION,
        process: 1,
        plan_hash,
        plan,
        bundle: None,
        every_ms: EVERY_MS,
        held_bytes: vec![1; 2],
    };
    Line::Hello(Box::new(hello)).to_text()
}

fn frame(plan: &Plan, number: u64) -> String {
    let threads = vec![ThreadNow::default(); plan.threads.len()];
    let edges = vec![EdgeNow::default(); plan.edges.len()];
    Line::Frame(Frame { number, threads, edges, ..Frame::default() }).to_text()
}

fn until(live: &mut Live, is: impl Fn(&State) -> bool) {
    let start = Instant::now();
    while !is(&live.state) {
        assert!(start.elapsed() < Duration::from_secs(20), "it never came: {:?}", live.state);
        live.poll();
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Why nothing more was heard.
fn lost(live: &mut Live) -> String {
    until(live, |state| matches!(state, State::Lost(..)));
    let State::Lost(_, fault) = &live.state else { unreachable!("it was just so") };
    fault.to_string()
}

#[test]
fn a_run_is_seen_until_it_ends() {
    let (run, plan) = (Run::new(), plan());
    let (mut live, mut other) = run.watched();
    assert!(!live.poll() && live.seen().is_none());
    other.write_all(hello(&plan.to_text()).as_bytes()).unwrap();
    until(&mut live, |state| matches!(state, State::Attached(_)));
    // Of many frames only what is drawn over time is kept, and the last two.
    let sent = plan.clone();
    let sender = std::thread::spawn(move || {
        for number in 0..MOMENTS_KEPT as u64 + 10 {
            other.write_all(frame(&sent, number).as_bytes()).unwrap();
        }
        other.write_all(Line::End(Ending::Finished {}).to_text().as_bytes()).unwrap();
    });
    until(&mut live, |state| matches!(state, State::Ended(_, Ending::Finished {})));
    sender.join().unwrap();
    let seen = live.seen().unwrap();
    assert_eq!(seen.moments.len(), MOMENTS_KEPT);
    let numbers = [&seen.before, &seen.last].map(|frame| frame.as_ref().map(|frame| frame.number as usize));
    assert_eq!(numbers, [Some(MOMENTS_KEPT + 8), Some(MOMENTS_KEPT + 9)]);
    assert_eq!(seen.plan.hash(), plan.hash());
    // That the line is closed behind the end is nothing to tell.
    assert!(!live.poll());
}

#[test]
fn a_socket_that_goes_away_is_told_and_can_be_tried_again() {
    let (run, plan) = (Run::new(), plan());
    let (mut live, mut other) = run.watched();
    other.write_all((hello(&plan.to_text()) + &frame(&plan, 3)).as_bytes()).unwrap();
    until(&mut live, |state| matches!(state, State::Attached(seen) if seen.last.is_some()));
    drop(other);
    assert!(
        lost(&mut live).ends_with("/s went away: the run was killed, or had no time for one more viewer")
    );
    assert_eq!(live.seen().map(|seen| seen.moments.len()), Some(1), "what was seen stays");
    live.reconnect();
    assert!(live.seen().is_none());
    let (mut other, _) = run.listener.accept().unwrap();
    other.write_all(hello(&plan.to_text()).as_bytes()).unwrap();
    until(&mut live, |state| matches!(state, State::Attached(_)));
    let path = run.socket();
    drop((other, run));
    lost(&mut live);
    live.reconnect();
    assert!(lost(&mut live).starts_with(&format!("cannot attach to {}: ", path.display())));
}

#[test]
fn a_run_that_says_nothing_any_more_is_known_to_be_silent_until_it_speaks_again() {
    let (run, plan) = (Run::new(), plan());
    let (mut live, mut other) = run.watched();
    other.write_all((hello(&plan.to_text()) + &frame(&plan, 1)).as_bytes()).unwrap();
    until(&mut live, |state| matches!(state, State::Attached(seen) if seen.last.is_some()));
    assert_eq!(live.silence(), None);
    let start = Instant::now();
    while live.silence().is_none() {
        assert!(start.elapsed() < Duration::from_secs(20), "it is never said");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() > Duration::from_millis(EVERY_MS.into()) * 5);
    other.write_all(frame(&plan, 2).as_bytes()).unwrap();
    until(&mut live, |state| matches!(state, State::Attached(seen) if seen.moments.len() == 2));
    assert_eq!(live.silence(), None);
}

#[test]
fn what_is_no_run_is_refused_with_the_reason() {
    let (run, plan) = (Run::new(), plan());
    let text = plan.to_text();
    let unsound = text.replacen("Recv(edge:0,", "Recv(edge:77,", 1);
    let mut more = plan.clone();
    more.threads.push(more.threads[0].clone());
    for (sent, expected) in [
        ("HTTP/1.1 200 OK\r\n".to_owned(), "line 1: found no greeting of a run"),
        ("{\"hello\":{\"version\":99}}\n".to_owned(), "found a stream of version 99"),
        (hello("(version: 1)"), "the plan that is said to run is refused: "),
        (hello(&unsound), "the plan that is said to run is refused: "),
        (hello(&text).replace("[1,1]", "[1]"), "it has 2 threads, and the memory of 1 is told"),
        (hello(&text) + &frame(&more, 5), "frame 5 is not of the plan"),
        (hello(&text) + "{}\n", "line 2: "),
    ] {
        let (mut live, mut other) = run.watched();
        other.write_all(sent.as_bytes()).unwrap();
        let found = lost(&mut live);
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn who_stops_watching_hangs_up_at_once() {
    let run = Run::new();
    let (live, mut other) = run.watched();
    other.write_all(hello(&plan().to_text()).as_bytes()).unwrap();
    drop(live);
    assert_eq!(other.read(&mut [0; 8]).unwrap_or(0), 0);
    // Nobody looks at what comes, so that more than fits waits at the other end, and is let go with it.
    let (live, mut other) = run.watched();
    let plan = plan();
    other.write_all(hello(&plan.to_text()).as_bytes()).unwrap();
    let sender =
        std::thread::spawn(move || (0..).find(|n| other.write_all(frame(&plan, *n).as_bytes()).is_err()));
    std::thread::sleep(Duration::from_millis(50));
    drop(live);
    assert!(sender.join().unwrap() > Some(0));
}
