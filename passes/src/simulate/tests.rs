//! Simulated time beside time that is counted by hand.
use super::*;
use crate::schedule::{self, tests::request};
use crate::{Cx, memory, partition::Cut};
use ir::plan::{Device, Partition};
use ir::topology::{Kind, Link, Read, Team};
use ir::work::Operations;
use ir::{Symbols, text};

/// Four products of 1 KiB of weights each, over devices that read a byte in a nanosecond; a message takes 50 ns.
fn simulated(cut: &str, micro_batches: u32, rounds: usize) -> Simulated {
    run(cut, (micro_batches, micro_batches), rounds)
}

/// The same with fewer under way than the plan allows.
fn run(cut: &str, (micro_batches, under_way): (u32, u32), rounds: usize) -> Simulated {
    let text = "graph g {
       x = input(): f32[n, 16]
       w0 = weight(): f32[16, 16]
       w1 = weight(): f32[16, 16]
       w2 = weight(): f32[16, 16]
       w3 = weight(): f32[16, 16]
       %0 = linear(x, w0): f32[n, 16] @blk.0.w
       %1 = linear(%0, w1): f32[n, 16] @blk.1.w
       %2 = linear(%1, w2): f32[n, 16] @blk.2.w
       %3 = linear(%2, w3): f32[n, 16] @blk.3.w
       return %3
     }";
    let mut graph = text::read(text).expect("the text is one of a graph").graph;
    let partition: Partition = cut.parse().unwrap();
    let devices: Vec<Device> = (0..partition.devices()).map(|n| Device::cpu(n, 1)).collect();
    let cx = Cx { cut: Cut::of(&graph, partition, &devices).unwrap(), ..Cx::default() };
    for pass in ["partition", "layout"] {
        crate::run_one(&cx, pass, &mut graph).unwrap();
    }
    let request = request(partition, micro_batches, 4, &devices);
    let mut plan = schedule::run(&cx, &graph, request).unwrap();
    memory::run(&cx, &mut plan, 0).unwrap();
    let size = StepSize { symbols: Symbols::new().with("n", 1), sequences: vec![] };
    simulate(&plan, &topology(&devices), &vec![size; rounds], under_way).unwrap()
}

/// Devices that read a byte in a nanosecond and compute for nothing, each joined to each.
fn topology(devices: &[Device]) -> Topology {
    let rate = 1_000_000_000_000_000;
    let team = Team {
        threads: 1,
        launch_ns: 0,
        operations: Operations { int8: rate, f16: rate, f32: rate, exp: rate },
        reads: vec![Read { bytes: 1, bytes_per_second: 1_000_000_000 }],
        rates: vec![],
    };
    let device = |device: &Device| ir::topology::Device {
        name: device.name.clone(),
        kind: Kind::Cpu,
        model: String::new(),
        kernels: String::new(),
        memory_bytes: 1 << 30,
        driver: Default::default(),
        threads: 1,
        teams: vec![team.clone()],
    };
    let mut links = vec![];
    for (at, from) in devices.iter().enumerate() {
        links.extend(devices[at + 1..].iter().map(|to| Link {
            from: from.name.clone(),
            to: to.name.clone(),
            latency_ns: 50,
            bytes_per_second: 1_000_000_000_000_000,
            wake_ns: 0,
        }));
    }
    let devices = devices.iter().map(device).collect();
    Topology { version: ir::topology::VERSION, devices, switches: vec![], links }
}

#[test]
fn stages_overlap_where_several_steps_are_under_way_and_wait_where_only_one_is() {
    let whole = simulated("none", 1, 8).round_ns(1);
    let alone = simulated("pipeline:2", 1, 8).round_ns(1);
    let both = simulated("pipeline:2", 2, 8);
    assert!((alone - whole - 50.0).abs() < 1.0, "{alone} instead of {whole} and a message");
    assert_eq!(run("pipeline:2", (2, 1), 8).round_ns(1), alone);
    let round = both.round_ns(2);
    assert!((0.45..0.6).contains(&(round / whole)), "{round} of {whole}");
    let busy = both.threads.iter().map(|t| t.busy_ns).sum::<f64>();
    assert!((busy / whole - 8.0).abs() < 0.01, "{busy} in 8 rounds of {whole}");
    assert_eq!(both.edges.iter().filter(|e| e.messages == 8).count(), both.edges.len());
}

#[test]
fn replicas_take_a_round_each_at_the_same_time() {
    let whole = simulated("none", 1, 3);
    let replicas = simulated("data:2", 1, 3);
    assert!((replicas.end_ns() - whole.end_ns()).abs() < 1.0);
    assert_eq!(replicas.finished_ns.len(), 3);
}

#[test]
fn every_step_has_its_span_and_every_message_its_flight() {
    let run = simulated("pipeline:2", 1, 3);
    for thread in 0..2 {
        let own: Vec<&Span> = run.spans.iter().filter(|span| span.thread == thread).collect();
        let order: Vec<_> = own.iter().map(|span| (span.round, span.step)).collect();
        let steps = own.iter().filter(|span| span.round == 0).count();
        let expected: Vec<_> = (0..3).flat_map(|round| (0..steps).map(move |step| (round, step))).collect();
        assert!(steps > 3 && order == expected, "{order:?}");
        // A thread does one thing after the other, and nothing between.
        assert!(own.windows(2).all(|two| (two[0].start_ns + two[0].ns - two[1].start_ns).abs() < 1e-6));
        let waited: f64 = run.threads[thread].waited_ns + run.threads[thread].busy_ns;
        assert!((own.iter().map(|span| span.ns).sum::<f64>() - waited).abs() < 1e-6);
    }
    let between: Vec<_> =
        run.messages.iter().filter(|m| run.edges[m.edge.0 as usize].moving_ns > 149.0).collect();
    assert_eq!(between.iter().map(|m| m.round).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(between.iter().all(|m| (m.arrived_ns - m.sent_ns - 50.0).abs() < 1.0), "{between:?}");
}
