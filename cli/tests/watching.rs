//! `--watch-socket`: who attaches to a run sees what runs, how it goes, and how it ended; and nobody waits for them.
mod support;

use ir::live::{Ending, Frame, Hello, Line, Lines};
use ir::plan::{End, Plan};
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;
use support::{Done, Home, done, fixture, wait_until};

fn tiny() -> String {
    fixture("tiny/gguf/llama.gguf").to_str().unwrap().to_owned()
}

/// A conversation that goes on until its standard input ends.
struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    socket: PathBuf,
}

impl Talk {
    fn begin(home: &Home) -> Talk {
        let args = ["chat", "--model", &tiny(), "--greedy", "--ignore-eos", "--tokens", "4"];
        let args = [&args[..], &["--watch-socket", "s.sock", "--partition", "pipeline:2", "--context", "64"]];
        let mut child = home.heddle(&args.concat()).stdin(Stdio::piped()).spawn().unwrap();
        let (input, socket) = (child.stdin.take(), home.path().join("s.sock"));
        wait_until(|| socket.exists());
        Talk { child, input, socket }
    }

    fn attach(&self) -> Viewer {
        Viewer::of(&self.socket)
    }

    fn say(&mut self, line: &str) {
        self.input.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    fn end(mut self) -> Done {
        drop(self.input.take());
        done(self.child.wait_with_output().unwrap())
    }
}

struct Viewer {
    stream: UnixStream,
    lines: Lines,
    read: Vec<Line>,
}

impl Viewer {
    /// Attaches; a socket is there for a moment before it listens.
    fn of(socket: &Path) -> Viewer {
        let mut stream = None;
        wait_until(|| {
            stream = UnixStream::connect(socket).ok();
            stream.is_some()
        });
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Viewer { stream, lines: Lines::default(), read: vec![] }
    }

    /// The next line; none when the stream has ended.
    fn next(&mut self) -> Option<Line> {
        let mut bytes = vec![0; 1 << 16];
        while self.read.is_empty() {
            let read = self.stream.read(&mut bytes).unwrap();
            if read == 0 {
                return None;
            }
            self.read = self.lines.take(&bytes[..read]).unwrap();
        }
        Some(self.read.remove(0))
    }

    fn hello(&mut self) -> (Box<Hello>, Plan) {
        let Some(Line::Hello(hello)) = self.next() else { panic!("no greeting") };
        let plan = Plan::from_text(&hello.plan).unwrap();
        assert_eq!(plan.hash(), hello.plan_hash);
        (hello, plan)
    }

    fn frame(&mut self) -> Frame {
        let Some(Line::Frame(frame)) = self.next() else { panic!("no frame") };
        frame
    }

    /// Reads on until a frame is as is expected.
    fn until(&mut self, is: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.frame();
            if is(&frame) {
                return frame;
            }
        }
    }

    /// What is left.
    fn rest(mut self) -> Vec<Line> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

#[test]
fn a_run_is_told_from_the_greeting_to_its_end() {
    let home = Home::new();
    let args = ["run", &tiny(), "--prompt", "a b", "--raw", "--greedy", "--ignore-eos", "--tokens", "8"];
    let child = home.heddle(&[&args[..], &["--watch-socket", "s.sock"]].concat()).spawn().unwrap();
    let socket = home.path().join("s.sock");
    wait_until(|| socket.exists());
    let mut viewer = Viewer::of(&socket);
    let (hello, plan) = viewer.hello();
    assert_eq!(hello.process, child.id());
    assert!(Path::new(&hello.bundle.unwrap()).join("graphs/00-import.ir").is_file());
    assert_eq!(hello.held_bytes.len(), plan.threads.len());
    let rest = viewer.rest();
    let [.., Line::Frame(last), Line::End(ending)] = &rest[..] else { panic!("{rest:?}") };
    assert_eq!(*ending, Ending::Finished {});
    assert!(last.is_of(&plan), "{last:?}");
    // A message for each step: the prompt's, and one for each token but the last.
    let tokens = plan.edges.iter().position(|edge| edge.name == "tokens").unwrap();
    let now = &last.edges[tokens];
    assert_eq!((now.sent, now.received, now.queued(), last.tokens.written), (8, 8, 0, 8));
    assert!(last.tokens.read > 0 && last.resident_bytes > Some(0) && last.threads[0].rounds >= 7, "{last:?}");
    done(child.wait_with_output().unwrap()).ok();
    assert!(!socket.exists());
}

#[test]
fn viewers_come_and_go_and_one_that_never_reads_holds_nobody_up() {
    let home = Home::new();
    let mut talk = Talk::begin(&home);
    let (mut one, silent) = (talk.attach(), talk.attach());
    let (hello, plan) = one.hello();
    // Who waits for the host is idle, not stalled.
    let idle = one.until(|frame| frame.threads.iter().all(|thread| thread.waits_at.is_some()));
    assert!(plan.threads.len() == 2 && idle.edges.iter().all(|edge| !edge.is_stalled), "{idle:?}");
    let fed = idle.threads[0].waits_at.map(|id| &plan.edges[id.0 as usize]);
    assert_eq!(fed.map(|edge| edge.from), Some(End::Host));
    talk.say("a\n");
    let busy = one.until(|frame| frame.tokens.written == 4);
    let between = plan.edges.iter().position(|edge| edge.from != End::Host && edge.to != End::Host).unwrap();
    assert!(busy.edges[between].sent >= 4 && busy.edges[between].bytes > 0, "{busy:?}");
    drop(one);
    let mut two = talk.attach();
    assert_eq!(two.hello(), (hello, plan));
    talk.say("b\n");
    let more = two.until(|frame| frame.tokens.written == 8);
    assert!(more.number > busy.number);
    let socket = talk.socket.clone();
    let done = talk.end();
    assert_eq!(two.rest().last(), Some(&Line::End(Ending::Finished {})));
    assert_eq!(done.err.matches(" written at ").count(), 2, "{done:?}");
    done.ok();
    drop(silent);
    assert!(!socket.exists());
}

#[test]
fn an_interrupt_is_told_and_leaves_no_socket() {
    let home = Home::new();
    let talk = Talk::begin(&home);
    let mut viewer = talk.attach();
    viewer.hello();
    viewer.frame();
    support::interrupt(&talk.child);
    assert_eq!(viewer.rest().last(), Some(&Line::End(Ending::Interrupted {})));
    let socket = talk.socket.clone();
    assert_eq!(talk.end().code, Some(130));
    assert!(!socket.exists());
}

#[test]
fn only_its_user_may_attach_from_the_first_moment_on() {
    let home = Home::new();
    let talk = Talk::begin(&home);
    assert_eq!(fs::metadata(&talk.socket).unwrap().permissions().mode() & 0o777, 0o600);
    // Half a connection, and one that talks back, do no harm.
    talk.attach().stream.shutdown(Shutdown::Write).unwrap();
    let mut rude = talk.attach();
    rude.hello();
    rude.stream.write_all(&[b'x'; 1000]).unwrap();
    rude.frame();
    talk.end().ok();
}

#[test]
fn a_place_where_no_socket_can_be_is_refused_at_once() {
    let home = Home::new();
    let at = |path: &str| {
        let args = ["run", "no/such/model", "--prompt", "a", "--watch-socket", path];
        let refused = home.run(&args).refused();
        assert!(!refused.contains("no/such/model"), "{refused}");
        refused
    };
    fs::write(home.path().join("file"), "kept").unwrap();
    assert!(at("file").contains("file is there and is no socket"));
    std::os::unix::fs::symlink("nowhere", home.path().join("link")).unwrap();
    assert!(at("link").contains("link is there and is no socket"));
    let long = "s".repeat(108);
    assert!(at(&long).contains("has 108 bytes, expected at most 107"));
    assert!(at("no/folder/s.sock").contains("cannot open a socket at no/folder/s.sock"));
    let alive = UnixListener::bind(home.path().join("alive")).unwrap();
    assert!(at("alive").contains("another process listens at alive"));
    assert_eq!(fs::read_to_string(home.path().join("file")).unwrap(), "kept");
    // One that is dead is replaced, and removed when the command cannot go on.
    drop(alive);
    let refused = home.run(&["run", "no/such/model", "--prompt", "a", "--watch-socket", "alive"]).refused();
    assert!(refused.contains("no/such/model") && !home.path().join("alive").exists(), "{refused}");
}
