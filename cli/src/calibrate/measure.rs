//! Measures this machine: what its teams compute and read, what launching and messages take.
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
use std::time::{Duration, Instant};

/// Working sets are measured from these bytes on, each four times the last.
const LEAST_BYTES: u64 = 1 << 18;
/// No cache holds more than the most, which is less where memory is short.
const MOST_BYTES: u64 = 1 << 30;
/// How often a rate is measured: the best of them is what the machine can do.
const TRIES: usize = 5;
/// How long a try takes at least.
const TRY: Duration = Duration::from_millis(8);
/// After how long there are no more tries: on a busy machine each takes long, and more would not help.
const PATIENCE: Duration = Duration::from_millis(150);
/// How long a new team works before it is measured, so that the system has spread it over the cores.
const SPREADING: Duration = Duration::from_millis(100);

/// Measures this machine: some seconds, with a progress bar.
pub(crate) fn measure() -> anyhow::Result<Topology> {
    let cpu = devices::cpu();
    let (isa, threads) = (Isa::detect(), cpu.cores.unwrap_or(1).max(1) as u32);
    let memory_bytes = cpu.memory_bytes.context("this system does not say how much memory it has")?;
    let most = MOST_BYTES.min(devices::usable_memory().unwrap_or(memory_bytes) / 8).max(LEAST_BYTES);
    let sets: Vec<u64> = std::iter::successors(Some(LEAST_BYTES), |bytes| Some(bytes * 4))
        .take_while(|b| *b <= most)
        .collect();
    // 1, 2, 4, … and all of them.
    let mut sizes: Vec<u32> =
        std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < threads).collect();
    sizes.push(threads);
    let bar = progress::count("calibrating", sizes.len() as u64 * (4 + sets.len() as u64) + 1);
    let memory = Memory::new(sets.last().map_or(0, |most| *most as usize))?;
    let teams = sizes.iter().map(|n| measure_team(*n, isa, &sets, &memory, &bar));
    let device = Device {
        name: cpu.device.into(),
        kind: Kind::Cpu,
        model: cpu.model.unwrap_or_default(),
        kernels: isa.name().into(),
        memory_bytes,
        threads,
        teams: teams.collect::<anyhow::Result<_>>()?,
    };
    let links = if threads > 1 { vec![measure_link(cpu.device)?] } else { vec![] };
    bar.finish_and_clear();
    Ok(Topology { version: VERSION, devices: vec![device], links })
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
        best(&mut |rounds| {
            team.run(all, |units, _| {
                // A late worker's part is done by another: so many units are computed either way.
                units.for_each(|_| _ = black_box(compute(isa, arithmetic, rounds)));
            })?;
            Ok(compute(isa, arithmetic, 1) * rounds * u64::from(threads))
        })
    };
    let operations = Operations {
        int8: rate(Arithmetic::Int8)?,
        f32: rate(Arithmetic::F32)?,
        exp: rate(Arithmetic::Exp)?,
    };
    let mut reads = vec![];
    for &bytes in sets {
        bar.inc(1);
        let part = bytes as usize / all / 64 * 64;
        let mut read = |ahead| {
            best(&mut |rounds| {
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
        let mut bytes_per_second = 0;
        for ahead in ASK_AHEAD_BYTES {
            bytes_per_second = read(ahead)?.max(bytes_per_second);
        }
        reads.push(Read { bytes, bytes_per_second });
    }
    bar.inc(1);
    let launches = best(&mut |rounds| {
        (0..rounds).try_for_each(|_| team.run(all, |_, _| {}))?;
        Ok(rounds)
    });
    let launch_ns = 1_000_000_000 / launches?.max(1);
    Ok(Team { threads, launch_ns, operations, reads })
}

/// How far ahead bytes are asked for: not at all is best within a core, far for a shared cache, near for memory.
const ASK_AHEAD_BYTES: [usize; 3] = [0, 2 << 10, 16 << 10];

/// The most that is done in a second, of what `run` says it does in so many rounds.
fn best(run: &mut dyn FnMut(u64) -> anyhow::Result<u64>) -> anyhow::Result<u64> {
    let mut rounds = 1;
    let mut most = 0f64;
    let mut tries = 0;
    let begin = Instant::now();
    while tries < TRIES && (tries == 0 || begin.elapsed() < PATIENCE) {
        let start = Instant::now();
        let done = run(rounds)?;
        let time = start.elapsed();
        if time < TRY {
            rounds *= if time * 8 < TRY { 8 } else { 2 };
            continue;
        }
        most = most.max(done as f64 / time.as_secs_f64());
        tries += 1;
    }
    Ok((most as u64).max(1))
}

/// What messages between two threads take, over the edges that plans use.
fn measure_link(device: &str) -> anyhow::Result<Link> {
    const LONG_BYTES: u64 = 1 << 20;
    let between = |bytes| -> anyhow::Result<u64> {
        let (mut there, mut inbox) = bytes_edge(bytes);
        let (mut reply, mut back) = bytes_edge(8);
        std::thread::scope(|scope| {
            let mut taken = vec![0; bytes as usize];
            scope.spawn(move || {
                let mut take = || inbox.recv(|message| taken[..message.len()].copy_from_slice(message));
                while take().is_ok() && reply.send(|slot| slot.len()).is_ok() {}
            });
            let message = vec![1; bytes as usize];
            let round_trips = best(&mut |rounds| {
                for _ in 0..rounds {
                    there.send(|slot| {
                        slot.copy_from_slice(&message);
                        slot.len()
                    })?;
                    back.recv(|_| ())?;
                }
                Ok(rounds)
            });
            drop((there, back));
            Ok(1_000_000_000 / round_trips?.max(1))
        })
    };
    let (short, long) = (between(8)?, between(LONG_BYTES)?);
    let bytes_per_second = LONG_BYTES * 1_000_000_000 / long.saturating_sub(short / 2).max(1);
    Ok(Link { from: device.into(), to: device.into(), latency_ns: short / 2, bytes_per_second })
}

fn bytes_edge(bytes: u64) -> (Writer, Reader) {
    let ty = TensorType::known(DType::U8, &[bytes as i64]);
    let (from, to) = (End::Host, End::Device(DeviceId(0)));
    let (name, deadline_ms) = ("message".into(), DEADLINE_MS);
    edge(&Edge { id: EdgeId(0), name, from, to, ty, bytes, capacity: 1, deadline_ms })
}
