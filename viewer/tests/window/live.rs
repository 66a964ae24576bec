//! A run that is watched through a socket, of which the test is the other end.
use crate::bundle;
use crate::stage::{Window, click, expect, says, until, window};
use eframe::egui::Theme;
use egui_kittest::kittest::Queryable;
use ir::live::{EVERY_MS, EdgeNow, Frame, Hello, Line, ThreadNow, Tokens, VERSION};
use ir::plan::{EdgeId, Plan};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use viewer::panels::{Request, Viewer};

/// How often a run says something that is waited for longer than any machine is busy.
const SELDOM_MS: u32 = 10_000;

fn hello(plan: &Plan, text: &str, every_ms: u32) -> Line {
    Line::Hello(Box::new(Hello {
        version: VERSION,
        process: 71,
        plan_hash: plan.hash(),
        plan: text.to_owned(),
        bundle: None,
        every_ms,
        held_bytes: vec![105_000_000, 66_000_000],
    }))
}

/// The second device waits for the first, which hangs.
fn frame(plan: &Plan, number: u64, is_stalled: bool) -> Line {
    let between = |edge: &ir::plan::Edge| edge.from != ir::plan::End::Host && edge.to != ir::plan::End::Host;
    let at = plan.edges.iter().position(between).expect("a message between devices");
    let mut edges = vec![EdgeNow { sent: number, received: number, ..EdgeNow::default() }; plan.edges.len()];
    edges[at] = EdgeNow {
        sent: number,
        received: number.saturating_sub(1),
        bytes: 2304 * number,
        is_stalled,
        ..EdgeNow::default()
    };
    let waits_at = is_stalled.then_some(EdgeId(at as u32));
    let threads = vec![
        ThreadNow { rounds: number, step: 9, ..ThreadNow::default() },
        ThreadNow { rounds: number, waits_at, ..ThreadNow::default() },
    ];
    let tokens = Tokens { read: 36, written: number, per_second: 12.5 };
    Line::Frame(Frame {
        number,
        threads,
        edges,
        tokens,
        resident_bytes: Some(180_000_000),
        ..Frame::default()
    })
}

fn watching(listener_path: std::path::PathBuf) -> Window {
    window(Theme::Dark, 1.0, |context| {
        Viewer::new(context, Request { watch: Some(listener_path), ..Request::default() })
    })
}

#[test]
fn a_run_is_watched_a_stalled_edge_named_and_a_socket_that_goes_away_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let text = fs::read_to_string(bundle::two_devices().path().join("plan.ron")).expect("a plan");
    let plan = Plan::from_text(&text).expect("a plan");
    let mut window = watching(socket);
    let (mut stream, _) = listener.accept().expect("the window attaches");
    let mut say = |line: Line| stream.write_all(line.to_text().as_bytes()).expect("the window listens");
    say(hello(&plan, &text, SELDOM_MS));
    until(&mut window, |window| says(window, "Group blk.0,"));
    say(frame(&plan, 1, false));
    say(frame(&plan, 2, false));
    until(&mut window, |window| says(window, "2 written"));
    expect(&window, "process 71 runs");
    expect(&window, "12.5 tokens/s");
    say(frame(&plan, 2, true));
    until(&mut window, |window| says(window, "stalled"));
    expect(&window, "waits at edge");
    expect(&window, "nothing moves though somebody waits: edge 9 with ffn_down, from cpu:0 to cpu:1");
    // Instead of what is known of the file, whose path is another every time.
    window.get_by_label("embed, gather").click();
    window.run_steps(2);
    window.remove_cursor();
    window.run_steps(2);
    // What flashes and moves does so by the clock.
    window.input_mut().time = Some(1000.5);
    window.step();
    window.input_mut().time = None;
    window.snapshot("live");
    drop(stream);
    drop(listener);
    until(&mut window, |window| says(window, "went away"));
    window.get_by_label("Attach again").click();
    until(&mut window, |window| says(window, "cannot attach to"));
}

#[test]
fn a_socket_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("later");
    let mut window = watching(socket.clone());
    until(&mut window, |window| says(window, "cannot attach to"));
    window.run();
    click(&mut window, "Close message 1");
    // There is nothing to be seen yet, but it can be tried again.
    let listener = UnixListener::bind(&socket).expect("a socket");
    click(&mut window, "Attach again");
    let (stream, _) = listener.accept().expect("the window attaches");
    until(&mut window, |window| says(window, "waiting for"));
    drop(stream);
}

#[test]
fn what_a_person_opened_stays_and_no_other_run_is_painted_on_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let text = fs::read_to_string(bundle::two_devices().path().join("plan.ron")).expect("a plan");
    let plan = Plan::from_text(&text).expect("a plan");
    let file = folder.path().join("graph.ir");
    let graph = "graph g {\n  x = input(): f32[2]\n  %0 = neg(x): f32[2] @own\n  return %0\n}\n";
    fs::write(&file, graph).expect("room");
    let mut window = window(Theme::Dark, 1.0, |context| {
        Viewer::new(context, Request { file: Some(file), watch: Some(socket), ..Request::default() })
    });
    let (mut stream, _) = listener.accept().expect("the window attaches");
    let mut say = |line: Line| stream.write_all(line.to_text().as_bytes()).expect("the window listens");
    say(hello(&plan, &text, EVERY_MS));
    say(frame(&plan, 2, true));
    until(&mut window, |window| says(window, "what runs is another plan"));
    expect(&window, "own, neg");
    assert!(window.query_by_label("Panel Live").is_some());
    until(&mut window, |window| says(window, "2 written"));
    window.get_by_label("Show what runs").click();
    until(&mut window, |window| says(window, "Group blk.0,"));
    assert!(!says(&window, "Show what runs"));
    // Nobody says a word any more.
    until(&mut window, |window| says(window, "nothing heard of process 71"));
}

#[test]
fn a_bundle_that_is_no_folder_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (socket, pipe) = (folder.path().join("s"), folder.path().join("pipe"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let listener = UnixListener::bind(&socket).expect("a socket");
    let text = fs::read_to_string(bundle::two_devices().path().join("plan.ron")).expect("a plan");
    let plan = Plan::from_text(&text).expect("a plan");
    let mut window = watching(socket);
    let (mut stream, _) = listener.accept().expect("the window attaches");
    let Line::Hello(mut hello) = hello(&plan, &text, EVERY_MS) else { panic!("no greeting") };
    hello.bundle = Some(pipe.display().to_string());
    stream.write_all(Line::Hello(hello).to_text().as_bytes()).expect("the window listens");
    until(&mut window, |window| says(window, "Group blk.0,"));
}
