//! What a run's socket sends: to each viewer the greeting, a frame now and then, and how the run ended.
//!
//! One thread looks at the run, accepts viewers, and hands each frame to those that are ready for one; every viewer has
//! a thread of its own, which waits for it. So a viewer that does not read misses frames, and nobody waits for it.
use super::{EVERY, Sampler, Socket, peer};
use crate::interrupt::{self, OnInterrupt};
use crate::load::Loaded;
use crate::output;
use ir::live::{self, Ending, Hello, Line};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the end of a run waits for viewers to hear of it: those that took all that they were told so far, which
/// takes a moment unless the system is busy, and those that did not.
const GRACE: Duration = Duration::from_secs(2);
const GRACE_BEHIND: Duration = Duration::from_millis(100);
/// How often it looks whether they have.
const LOOK: Duration = Duration::from_millis(2);
/// Most viewers, each of which takes a thread and two descriptors of the run's, and most that are taken in at one look.
const MOST: usize = 32;
const MOST_AT_ONCE: usize = 8;
/// A thread that only writes needs little.
const STACK_BYTES: usize = 128 << 10;

/// Sends until it is told how the run ended.
pub(crate) struct Station {
    ending: Sender<Ending>,
    sending: Option<JoinHandle<()>>,
    _tidy: OnInterrupt,
}

impl Station {
    /// Begins to send what happens to a model that runs.
    pub(crate) fn open(socket: Socket, loaded: &Loaded) -> Station {
        let session = &loaded.session;
        let hello = Line::Hello(Box::new(Hello {
            version: live::VERSION,
            process: std::process::id(),
            plan_hash: loaded.hash.clone(),
            plan: session.plan().to_text(),
            bundle: loaded.dir.canonicalize().ok().and_then(|dir| Some(dir.to_str()?.to_owned())),
            every_ms: live::EVERY_MS,
            held_bytes: session.memory().iter().map(|held| held.bytes).collect(),
        }));
        let viewers = Viewers { hello: hello.to_text().into(), all: vec![] };
        let sampler = Sampler::new(session.watch(), loaded.tally.clone());
        let (ending, ended) = mpsc::channel();
        let (done, is_done) = mpsc::channel();
        let sending = thread::spawn(move || {
            send(&socket, viewers, sampler, &ended);
            // Nobody may be there to hear it.
            let _ = done.send(());
        });
        let interrupted = ending.clone();
        let tidy = interrupt::on_interrupt(move || {
            if interrupted.send(Ending::Interrupted {}).is_ok() {
                let _ = is_done.recv_timeout(GRACE);
            }
        });
        Station { ending, sending: Some(sending), _tidy: tidy }
    }

    /// Says how the run ended, to whoever is there.
    pub(crate) fn close<T>(mut self, result: &anyhow::Result<T>) {
        self.end(match result {
            Ok(_) => Ending::Finished {},
            Err(error) if error.is::<output::Interrupted>() || error.is::<output::ClosedPipe>() => {
                Ending::Interrupted {}
            }
            Err(error) => Ending::Failed { reason: output::explain(error) },
        });
    }

    fn end(&mut self, ending: Ending) {
        if let Some(sending) = self.sending.take() {
            // All that the thread could have to say is that it panicked, and that is on the terminal.
            let _ = self.ending.send(ending);
            let _ = sending.join();
        }
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.end(Ending::Failed { reason: "the run was given up".into() });
    }
}

/// Sends frames until the run has ended.
fn send(socket: &Socket, mut viewers: Viewers, mut sampler: Sampler, ended: &Receiver<Ending>) {
    let ending = loop {
        match ended.recv_timeout(EVERY) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(ending) => break Some(ending),
            Err(RecvTimeoutError::Disconnected) => break None,
        }
        viewers.admit(socket);
        // It is looked at all the same: how long nothing moved is counted from look to look.
        let frame = sampler.frame();
        if !viewers.all.is_empty() {
            viewers.tell(Line::Frame(frame).to_text());
        }
    };
    viewers.admit(socket);
    let last = [Some(Line::Frame(sampler.frame())), ending.map(Line::End)];
    viewers.see_off(last.iter().flatten().map(Line::to_text).collect());
}

/// Who is attached.
struct Viewers {
    hello: Arc<str>,
    all: Vec<Viewer>,
}

struct Viewer {
    stream: UnixStream,
    /// Has room for one text: while the viewer's thread is busy with older ones, there is none for another.
    /// Dropped when the last was told.
    texts: Option<SyncSender<Arc<str>>>,
    /// Whether there was none when it was last told something.
    is_behind: bool,
    attending: Option<JoinHandle<()>>,
}

impl Viewers {
    /// Takes in whoever has come.
    fn admit(&mut self, socket: &Socket) {
        for _ in 0..MOST_AT_ONCE {
            let Ok((stream, _)) = socket.listener.accept() else { break };
            // One that cannot be asked or served is let go: it sees its stream end.
            if self.all.len() < MOST && peer::is_own(&stream).is_ok_and(|own| own) {
                self.all.extend(Viewer::attend(stream, self.hello.clone()));
            }
        }
    }

    /// Tells something to those that are ready for it, and forgets those that have gone.
    fn tell(&mut self, text: String) {
        let text: Arc<str> = text.into();
        self.all.retain_mut(|viewer| {
            let Some(texts) = &viewer.texts else { return false };
            let told = texts.try_send(text.clone());
            viewer.is_behind = matches!(told, Err(TrySendError::Full(_)));
            !matches!(told, Err(TrySendError::Disconnected(_)))
        });
    }

    /// Tells something to all as the last, and leaves those that do not take it in time.
    fn see_off(mut self, text: String) {
        let (text, start): (Arc<str>, _) = (text.into(), Instant::now());
        while !self.all.is_empty() {
            let passed = start.elapsed();
            self.all.retain_mut(|viewer| {
                let is_full = viewer
                    .texts
                    .as_ref()
                    .is_some_and(|texts| matches!(texts.try_send(text.clone()), Err(TrySendError::Full(_))));
                if !is_full {
                    // So the thread ends when it has sent what it was told.
                    viewer.texts = None;
                }
                let grace = if viewer.is_behind { GRACE_BEHIND } else { GRACE };
                passed < grace && !viewer.attending.as_ref().is_none_or(JoinHandle::is_finished)
            });
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.texts = None;
        // Wakes a thread that still waits for its viewer; what was sent can still be read.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(attending) = self.attending.take() {
            let _ = attending.join();
        }
    }
}

impl Viewer {
    /// Greets a viewer, and goes on to send it what it is told; none where it has gone again or there are no more
    /// threads.
    fn attend(stream: UnixStream, hello: Arc<str>) -> Option<Viewer> {
        // On some systems it is as the listener is.
        stream.set_nonblocking(false).ok()?;
        let mut own = stream.try_clone().ok()?;
        let (texts, told) = mpsc::sync_channel::<Arc<str>>(1);
        let attend = move || {
            let mut all = std::iter::once(hello).chain(told);
            // The end of both is that the viewer has gone, or that there is nothing more to tell it.
            let _ = all.try_for_each(|text| own.write_all(text.as_bytes()));
        };
        let attending = thread::Builder::new().stack_size(STACK_BYTES).spawn(attend).ok()?;
        Some(Viewer { stream, texts: Some(texts), is_behind: false, attending: Some(attending) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_viewer_that_never_reads_misses_what_there_is_no_room_for_and_others_hear_the_last() {
        let (ours, silent) = UnixStream::pair().unwrap();
        let (other, mut eager) = UnixStream::pair().unwrap();
        let greet = |stream| Viewer::attend(stream, "hello\n".into()).unwrap();
        let mut viewers = Viewers { hello: "".into(), all: vec![greet(ours), greet(other)] };
        let heard = thread::spawn(move || {
            let mut text = String::new();
            eager.read_to_string(&mut text).unwrap();
            text
        });
        (0..64).for_each(|_| viewers.tell("x".repeat(1 << 20) + "\n"));
        assert_eq!(viewers.all.len(), 2);
        while viewers.all[1].is_behind {
            thread::sleep(LOOK);
            viewers.tell("x\n".into());
        }
        viewers.see_off("last\n".into());
        let heard = heard.join().unwrap();
        assert!(heard.starts_with("hello\n") && heard.ends_with("\nlast\n"), "{} bytes", heard.len());
        drop(silent);
    }

    #[test]
    fn a_viewer_that_has_gone_is_forgotten() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut viewers = Viewers { hello: "".into(), all: vec![Viewer::attend(ours, "a".into()).unwrap()] };
        drop(theirs);
        while !viewers.all.is_empty() {
            viewers.tell("b".into());
            thread::sleep(LOOK);
        }
    }
}
