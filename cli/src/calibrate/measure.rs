//! Measures this machine: what its teams compute and read, what launching and messages take.
use super::best::Tries;
use super::gpus;
use super::kernels::{Bench, how_many};
use crate::{devices, progress};
use anyhow::Context;
use indicatif::ProgressBar;
use ir::plan::{DEADLINE_MS, DeviceId, Edge, EdgeId, End};
use ir::topology::{Device, Kind, Link, Read, Team, Topology, VERSION};
use ir::work::Operations;
use ir::{DType, TensorType};
use kernels::calibrate::{Arithmetic, Memory, compute};
use kernels::simd::Isa;
use runtime::{Reader, Writer, edge};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Working sets that are measured: this, and these as far as memory allows, with smaller steps where the last cache of
/// cores may end: what comes round is read much slower as soon as it is a little too much.
const LEAST_BYTES: u64 = 1 << 18;
const SETS_MIB: [u64; 12] = [1, 4, 16, 32, 48, 64, 96, 128, 192, 256, 512, 1024];
/// However short memory is: what a kernel reads while it is measured.
const KERNELS_BYTES: usize = 4 << 20;
/// How long a new team works before it is measured, so that the system has spread it over the cores.
const SPREADING: Duration = Duration::from_millis(100);

/// Measures this machine: some seconds, with a progress bar.
pub(crate) fn measure() -> anyhow::Result<Topology> {
    let cpu = devices::cpu();
    let (isa, threads) = (Isa::detect(), cpu.cores.unwrap_or(1).max(1) as u32);
    let memory_bytes = cpu.memory_bytes.context("this system does not say how much memory it has")?;
    let most = devices::usable_memory().unwrap_or(memory_bytes) / 8;
    let more = SETS_MIB.iter().map(|mib| mib << 20).take_while(|bytes| *bytes <= most);
    let sets: Vec<u64> = std::iter::once(LEAST_BYTES).chain(more).collect();
    // 1, 2, 4, … and all of them.
    let mut sizes: Vec<u32> =
        std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < threads).collect();
    sizes.push(threads);
    let bar = progress::count("calibrating", sizes.len() as u64 * (4 + sets.len() as u64 + how_many()));
    let memory = Memory::new(sets.last().map_or(0, |most| *most as usize).max(KERNELS_BYTES))?;
    let teams = sizes.iter().map(|n| measure_team(*n, isa, &sets, &memory, &bar));
    let device = Device {
        name: cpu.device.into(),
        kind: Kind::Cpu,
        model: cpu.model.unwrap_or_default(),
        kernels: isa.name().into(),
        memory_bytes,
        driver: Default::default(),
        threads,
        teams: teams.collect::<anyhow::Result<_>>()?,
    };
    let mut links = if threads > 1 { vec![measure_link(cpu.device)?] } else { vec![] };
    let mut all = vec![device];
    for (known, open) in devices::gpus() {
        match gpus::measure(&known, cpu.device, &*open) {
            Ok((device, between)) => {
                all.push(device);
                links.extend(between);
            }
            Err(error) => note!("{} is not measured: {}", known.name, crate::output::explain(&error)),
        }
    }
    bar.finish_and_clear();
    Ok(Topology { version: VERSION, devices: all, switches: vec![], links })
}

fn measure_team(
    threads: u32,
    isa: Isa,
    sets: &[u64],
    memory: &Memory,
    bar: &ProgressBar,
) -> anyhow::Result<Team> {
    let mut team = runtime::Team::new(threads as usize)?;
    let all = threads as usize;
    let start = Instant::now();
    while start.elapsed() < SPREADING {
        team.run(all, |units, _| units.for_each(|_| _ = black_box(compute(isa, Arithmetic::F32, 10_000))))?;
    }
    let mut rate = |arithmetic| {
        bar.inc(1);
        Tries::CAREFUL.best(&mut |rounds| {
            team.run(all, |units, _| {
                // A late worker's part is done by another: so many units are computed either way.
                units.for_each(|_| _ = black_box(compute(isa, arithmetic, rounds)));
            })?;
            Ok(compute(isa, arithmetic, 1) * rounds * u64::from(threads))
        })
    };
    let [int8, f32, exp] = [rate(Arithmetic::Int8)?, rate(Arithmetic::F32)?, rate(Arithmetic::Exp)?];
    let mut reads = vec![];
    for &bytes in sets {
        bar.inc(1);
        let part = bytes as usize / all / 64 * 64;
        let mut read = |ahead| {
            // Where caches end, one sweep finds a third more of it there than another.
            Tries::CAREFUL.middle(&mut |rounds| {
                team.run(all, |units, _| {
                    for unit in units {
                        for _ in 0..rounds {
                            black_box(memory.read(isa, unit * part..(unit + 1) * part, ahead));
                        }
                    }
                })?;
                Ok((part / 512 * 512 * all) as u64 * rounds)
            })
        };
        let mut bytes_per_second = 1;
        for ahead in ASK_AHEAD_BYTES {
            bytes_per_second = (read(ahead)? as u64).max(bytes_per_second);
        }
        reads.push(Read { bytes, bytes_per_second });
    }
    bar.inc(1);
    let launch_ns = measure_launch(&mut team)?;
    let mut measured = Team {
        threads,
        launch_ns,
        operations: Operations { int8, f16: f32, f32, exp },
        reads,
        rates: vec![],
    };
    let empty_ns = Tries::CAREFUL.middle_ns(&mut || Ok(team.run(all, |_, _| {})?))?;
    measured.rates = Bench { team: &mut team, isa, memory, launch_ns: empty_ns, bar }.rates()?;
    // What has 16 bits is widened on the way, by the kernel that takes it.
    let halves = measured.rate("t16.f16 f32").and_then(|rate| rate.at.last());
    measured.operations.f16 = halves.map_or(f32, |at| at.operations_per_second);
    Ok(measured)
}

/// How far ahead bytes are asked for: not at all is best within a core, far for a shared cache, near for memory.
pub(crate) const ASK_AHEAD_BYTES: [usize; 3] = [0, 2 << 10, 16 << 10];

/// Nanoseconds that a kernel of all threads takes which only reads a short row that one thread wrote, and writes its
/// part of another that this thread then reads.
fn measure_launch(team: &mut runtime::Team) -> anyhow::Result<u64> {
    /// Of a row: a cache line each.
    const LINES: usize = 32;
    #[repr(align(64))]
    #[derive(Default)]
    struct Line(AtomicU64);
    let row = || std::iter::repeat_with(Line::default).take(LINES).collect::<Vec<_>>();
    let sum =
        |row: &[Line]| row.iter().fold(0u64, |sum, line| sum.wrapping_add(line.0.load(Ordering::Relaxed)));
    let (there, back) = (row(), row());
    let threads = team.threads();
    let ns = Tries::CAREFUL.middle_ns(&mut || {
        let seen = sum(&back);
        there.iter().for_each(|line| line.0.store(seen, Ordering::Relaxed));
        team.run(threads, |units, _| {
            let seen = sum(&there);
            let lines = units.start * LINES / threads..units.end * LINES / threads;
            back[lines].iter().for_each(|line| line.0.store(seen, Ordering::Relaxed));
        })?;
        Ok(())
    })?;
    Ok(ns as u64)
}

/// What messages between two threads take, over the edges that plans use.
fn measure_link(device: &str) -> anyhow::Result<Link> {
    /// More than the caches of a core: in a plan, what messages go from and to is far, as much was read since.
    const LONG_BYTES: u64 = 64 << 20;
    let (short_ns, wake_ns) = round_trips(8)?;
    let (long_ns, _) = round_trips(LONG_BYTES)?;
    // The way back is short.
    let latency_ns = short_ns / 2.0;
    // Both writer and reader touch every byte: on a busy machine the short one may seem to take as long, but nothing
    // moves a mebibyte in less than a microsecond.
    let bytes_per_second = (LONG_BYTES as f64 * 1e9 / (long_ns - latency_ns).max(1000.0)) as u64;
    let (latency_ns, wake_ns) = (latency_ns as u64, wake_ns as u64);
    Ok(Link { from: device.into(), to: device.into(), latency_ns, bytes_per_second, wake_ns })
}

/// Nanoseconds until a message of so many bytes is answered by a short one, and how much longer it takes where the
/// reader sleeps.
fn round_trips(bytes: u64) -> anyhow::Result<(f64, f64)> {
    let (mut there, mut inbox) = bytes_edge(bytes);
    let (mut reply, mut back) = bytes_edge(8);
    std::thread::scope(|scope| {
        let mut taken = vec![0; bytes as usize];
        scope.spawn(move || {
            spread();
            let mut take = || inbox.recv(|message| taken[..message.len()].copy_from_slice(message));
            while take().is_ok() && reply.send(|slot| slot.len()).is_ok() {}
        });
        spread();
        let message = vec![1; bytes as usize];
        let mut round_trip = || -> anyhow::Result<()> {
            there.send(|slot| {
                slot.copy_from_slice(&message);
                slot.len()
            })?;
            Ok(back.recv(|_| ())?)
        };
        let round_trips = Tries::CAREFUL.best(&mut |rounds| {
            (0..rounds).try_for_each(|_| round_trip())?;
            Ok(rounds)
        })?;
        let awake_ns = 1e9 / round_trips as f64;
        let mut asleep = vec![];
        for _ in 0..SLEEPS {
            std::thread::sleep(FALLING_ASLEEP);
            let start = Instant::now();
            round_trip()?;
            asleep.push(start.elapsed());
        }
        asleep.sort();
        drop((there, back));
        Ok((awake_ns, (asleep[SLEEPS / 2].as_nanos() as f64 - awake_ns).max(0.0)))
    })
}

/// Works for so long that the system gives this thread a core of its own.
fn spread() {
    let start = Instant::now();
    while start.elapsed() < SPREADING {
        black_box(compute(Isa::detect(), Arithmetic::F32, 10_000));
    }
}

/// How often a sleeping reader is woken: the one in the middle counts, for the best is a lucky one.
const SLEEPS: usize = 15;
/// After how long without a message a reader sleeps.
const FALLING_ASLEEP: Duration = Duration::from_millis(2);

fn bytes_edge(bytes: u64) -> (Writer, Reader) {
    let ty = TensorType::known(DType::U8, &[bytes as i64]);
    let (from, to) = (End::Host, End::Device(DeviceId(0)));
    let (name, deadline_ms) = ("message".into(), DEADLINE_MS);
    edge(&Edge { id: EdgeId(0), name, from, to, ty, bytes, capacity: 1, deadline_ms })
}
