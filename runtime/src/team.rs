//! The worker team inside one device: the device's own thread and its helpers run one kernel together.
//!
//! - Work is split by counting: the same units go to the same worker every time, but for a worker that has not
//!   come by when the device's own thread is done, whose part that thread then takes. So a core that is busy
//!   with something else costs its share of the speed, and not the time until it is free again.
//! - [`Team::run`] returns when every worker is done, also when one of them panicked.
//! - An idle team sleeps.
use crate::bell::Bell;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, UnsafeCell, lock, thread};
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a team could not be made or a kernel did not finish.
#[derive(Debug, thiserror::Error)]
pub enum TeamError {
    /// The system gave no thread.
    #[error("cannot start worker {worker}: {cause}")]
    Start {
        /// The worker's index.
        worker: usize,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A worker's part of the kernel panicked; the others finished theirs.
    #[error("worker {worker} panicked: {message}")]
    Panicked {
        /// The worker's index; 0 is the device's own thread.
        worker: usize,
        /// What the panic said.
        message: String,
    },
}

/// The workers of one device. Dropping it stops and joins the helpers.
pub struct Team {
    stage: Arc<Stage>,
    helpers: Vec<thread::JoinHandle<()>>,
}

/// What the workers share.
struct Stage {
    /// Counts the jobs started.
    started: AtomicU64,
    /// For each helper the last job of which its part was taken, by itself or by the device's thread.
    taken: Box<[AtomicU64]>,
    /// The present job. Written only while no part is being done; read by who took a part.
    job: UnsafeCell<Job>,
    /// Helpers' parts of the present job that are not done.
    open: AtomicUsize,
    stopping: AtomicBool,
    start: Bell,
    finish: Bell,
    panic: Mutex<Option<TeamError>>,
}

// SAFETY: `job` changes only between jobs, when `open` is 0; no part can be taken then, and who has none does
// not look at it.
unsafe impl Sync for Stage {}
unsafe impl Send for Stage {}

type Body<'a> = dyn Fn(Range<usize>, usize) + Sync + 'a;

#[derive(Clone, Copy)]
struct Job {
    body: *const Body<'static>,
    units: usize,
}

impl Team {
    /// A team of `threads` workers, the calling thread among them; 0 is taken as 1.
    pub fn new(threads: usize) -> Result<Team, TeamError> {
        Self::pinned(threads, &[])
    }

    /// Like [`Team::new`], with worker `i` kept on core `cores[i]`, the calling thread being worker 0.
    /// Workers beyond the list, and those whose core the system refuses, stay free.
    pub fn pinned(threads: usize, cores: &[usize]) -> Result<Team, TeamError> {
        let threads = threads.max(1);
        let stage = Arc::new(Stage::new(threads));
        let mut team = Team { stage, helpers: Vec::with_capacity(threads - 1) };
        for worker in 1..threads {
            let (stage, core) = (team.stage.clone(), cores.get(worker).copied());
            let help = move || {
                if let Some(core) = core {
                    pin(core);
                }
                stage.help(worker, threads);
            };
            let helper = thread::Builder::new().name(format!("worker {worker}")).spawn(help);
            team.helpers.push(helper.map_err(|cause| TeamError::Start { worker, cause })?);
        }
        if let Some(core) = cores.first() {
            pin(*core);
        }
        Ok(team)
    }

    /// How many workers there are, the device's own thread among them.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `body(range, worker)` for every worker's part of `0..units`, and waits for all. `worker` says who calls.
    /// Workers without a part are not called. Fewer than two units run here, without waking anyone.
    pub fn run(&mut self, units: usize, body: impl Fn(Range<usize>, usize) + Sync) -> Result<(), TeamError> {
        if units < 2 || self.helpers.is_empty() {
            return play(&body, 0..units, 0);
        }
        let stage = &*self.stage;
        let erased: *const Body<'_> = &body;
        // SAFETY: only the lifetime changes, and no helper uses the body after `open` has come back to 0,
        // which is awaited below before `body` can go.
        let erased = unsafe { std::mem::transmute::<*const Body<'_>, *const Body<'static>>(erased) };
        // SAFETY: no job runs, for `run` borrows the team mutably and waits for each job's end.
        stage.job.with_mut(|job| unsafe { *job = Job { body: erased, units } });
        stage.open.store(self.helpers.len(), Ordering::Relaxed);
        let job = stage.started.fetch_add(1, Ordering::Release) + 1;
        stage.start.ring();

        let threads = self.threads();
        let mut mine = play(&body, part(units, 0, threads), 0);
        for late in (1..threads).filter(|&worker| stage.take(worker, job)) {
            mine = mine.and(play(&body, part(units, late, threads), 0));
            stage.open.fetch_sub(1, Ordering::Relaxed);
        }
        stage.finish.wait(None, || stage.open.load(Ordering::Acquire) == 0);
        match lock(&stage.panic).take() {
            Some(theirs) => mine.and(Err(theirs)),
            None => mine,
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.stage.stopping.store(true, Ordering::Relaxed);
        self.stage.started.fetch_add(1, Ordering::Release);
        self.stage.start.ring();
        for helper in self.helpers.drain(..) {
            // A helper catches its jobs' panics and has none of its own to report.
            let _ = helper.join();
        }
    }
}

impl Stage {
    fn new(threads: usize) -> Stage {
        Stage {
            started: AtomicU64::new(0),
            taken: (1..threads).map(|_| AtomicU64::new(0)).collect(),
            job: UnsafeCell::new(Job { body: &|_, _| {}, units: 0 }),
            open: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            start: Bell::new(),
            finish: Bell::new(),
            panic: Mutex::new(None),
        }
    }

    /// The life of a helper: wait for a job, do its part unless that was taken, say so.
    fn help(&self, worker: usize, threads: usize) {
        let mut seen = 0;
        loop {
            self.start.wait(None, || self.started.load(Ordering::Acquire) > seen);
            seen = self.started.load(Ordering::Acquire);
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
            if !self.take(worker, seen) {
                continue;
            }
            // SAFETY: `started` was raised after the job was written, and `run` keeps job and body until
            // `open` is 0.
            let outcome = self.job.with(|job| unsafe {
                let Job { body, units } = *job;
                play(&*body, part(units, worker, threads), worker)
            });
            if let Err(error) = outcome {
                *lock(&self.panic) = Some(error);
            }
            if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.finish.ring();
            }
        }
    }

    /// Takes `worker`'s part of a job, which can be done once. A job does not end before all its parts are taken,
    /// so a part of the job before this one is the last that was.
    fn take(&self, worker: usize, job: u64) -> bool {
        let taken = &self.taken[worker - 1];
        taken.compare_exchange(job - 1, job, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Runs one worker's part, and turns its panic into an error.
fn play(body: &Body<'_>, range: Range<usize>, worker: usize) -> Result<(), TeamError> {
    if range.is_empty() {
        return Ok(());
    }
    catch_unwind(AssertUnwindSafe(|| body(range, worker)))
        .map_err(|payload| TeamError::Panicked { worker, message: told(&*payload) })
}

/// What a panic said.
pub(crate) fn told(payload: &dyn Any) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_string()
}

/// Worker `worker`'s part of `0..units`: contiguous, and no part longer than another by more than one.
fn part(units: usize, worker: usize, threads: usize) -> Range<usize> {
    let (each, more) = (units / threads, units % threads);
    let start = worker * each + worker.min(more);
    start..start + each + usize::from(worker < more)
}

/// Keeps the calling thread on one core, where the system has such a call and allows it.
fn pin(core: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: the set is a plain bit mask of the size given, and `core` is within it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if core < 8 * size_of::<libc::cpu_set_t>() {
            libc::CPU_SET(core, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = core;
}

#[cfg(test)]
fn count(done: &AtomicUsize) {
    done.fetch_add(1, Ordering::Relaxed);
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::sync::model;

    #[test]
    fn every_unit_is_done_before_run_returns() {
        model(|| {
            let mut team = Team::new(2).unwrap();
            for round in 1..3 {
                let sums = [UnsafeCell::new(0), UnsafeCell::new(0)];
                let cells = Cells(&sums);
                team.run(2, move |units, _| {
                    let cells = &cells;
                    for unit in units {
                        // SAFETY: each unit has a cell of its own; loom checks that nobody else is at it.
                        cells.0[unit].with_mut(|sum| unsafe { *sum += round * (unit + 1) });
                    }
                })
                .unwrap();
                // SAFETY: as above, and the job is over.
                let found = sums.iter().map(|sum| sum.with(|sum| unsafe { *sum })).collect::<Vec<_>>();
                assert_eq!(found, [round, 2 * round]);
            }
        });
    }

    #[test]
    fn a_team_stops_in_its_first_sleep() {
        model(|| drop(Team::new(2).unwrap()));
    }

    #[test]
    fn a_team_of_three_finishes_together() {
        model(|| {
            let done = AtomicUsize::new(0);
            let mut team = Team::new(3).unwrap();
            team.run(3, |_, _| count(&done)).unwrap();
            assert_eq!(done.load(Ordering::Relaxed), 3);
        });
    }

    struct Cells<'a>(&'a [UnsafeCell<usize>; 2]);
    // SAFETY: every access is checked by loom.
    unsafe impl Sync for Cells<'_> {}
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn parts_are_contiguous_even_and_complete() {
        for threads in 1..6 {
            for units in 0..20 {
                let parts: Vec<_> = (0..threads).map(|w| part(units, w, threads)).collect();
                assert_eq!(
                    parts.iter().cloned().flatten().collect::<Vec<_>>(),
                    (0..units).collect::<Vec<_>>()
                );
                assert!(parts.iter().all(|p| p.len().abs_diff(units / threads) <= 1));
            }
        }
    }

    #[test]
    fn many_short_jobs_do_every_unit_once() {
        let mut team = Team::new(3).unwrap();
        for job in 0..2000 {
            let units = job % 8;
            let seen: Vec<AtomicUsize> = (0..units).map(|_| AtomicUsize::new(0)).collect();
            let body = |range: Range<usize>, _| seen[range].iter().for_each(count);
            team.run(units, body).unwrap();
            assert!(seen.iter().all(|s| s.load(Ordering::Relaxed) == 1), "job {job}");
        }
    }

    /// Waits until the helper is at its part, which the device's thread would take from it otherwise.
    fn until(came: &AtomicBool) {
        while !came.load(Ordering::Acquire) {
            thread::yield_now();
        }
    }

    #[test]
    fn a_helper_that_panics_is_an_error_and_the_team_lives_on() {
        let mut team = Team::new(2).unwrap();
        let came = AtomicBool::new(false);
        let error = team.run(2, |_, worker| match worker {
            0 => until(&came),
            _ => {
                came.store(true, Ordering::Release);
                panic!("on purpose")
            }
        });
        assert!(
            matches!(&error, Err(TeamError::Panicked { worker: 1, message }) if message.contains("on purpose"))
        );
        team.run(2, |_, _| {}).unwrap();
    }

    #[test]
    fn the_device_thread_that_panics_waits_for_its_helpers() {
        let mut team = Team::new(2).unwrap();
        let (came, helped) = (AtomicBool::new(false), AtomicBool::new(false));
        let error = team.run(2, |_, worker| match worker {
            0 => {
                until(&came);
                panic!("on purpose")
            }
            _ => {
                came.store(true, Ordering::Release);
                thread::sleep(std::time::Duration::from_millis(5));
                helped.store(true, Ordering::Relaxed);
            }
        });
        assert!(matches!(error, Err(TeamError::Panicked { worker: 0, .. })));
        assert!(helped.load(Ordering::Relaxed));
    }

    #[test]
    fn the_part_of_a_helper_that_does_not_come_is_done_all_the_same() {
        let gone = || thread::spawn(|| {});
        let mut team = Team { stage: Arc::new(Stage::new(3)), helpers: vec![gone(), gone()] };
        for _ in 0..2 {
            let done: Vec<_> = (0..5).map(|_| AtomicUsize::new(0)).collect();
            team.run(5, |units, _| done[units].iter().for_each(count)).unwrap();
            assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn a_sleeping_team_wakes() {
        let mut team = Team::pinned(2, &[0, 1]).unwrap();
        thread::sleep(std::time::Duration::from_millis(3));
        let done = AtomicUsize::new(0);
        team.run(2, |_, _| count(&done)).unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 2);
    }
}
