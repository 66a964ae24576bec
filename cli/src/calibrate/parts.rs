//! Several devices on one GPU, such as `vulkan:0[1]`: what each of them does while the others work, too.
use ir::plan::Device;
use ir::topology::{Link, Topology};

/// The topology with those of `wanted` that are parts of a GPU that it has, each with its share of what that does.
pub(super) fn of_gpus(mut topology: Topology, wanted: &[Device]) -> Topology {
    let is_missing = |device: &&Device| !device.kind.is_cpu() && topology.device(&device.name).is_none();
    let missing: Vec<&str> = wanted.iter().filter(is_missing).map(|device| device.name.as_str()).collect();
    for name in &missing {
        let count = missing.iter().filter(|other| whole(other) == whole(name)).count() as u64;
        add(&mut topology, name, count);
    }
    // Between two of them a message goes as it does to the host.
    for (index, from) in missing.iter().enumerate() {
        for to in &missing[index + 1..] {
            let own = topology.links.iter().find(|link| link.from == *from && link.to == *from).cloned();
            topology.links.extend(own.map(|link| Link { to: (*to).to_owned(), ..link }));
        }
    }
    topology
}

/// The name of the GPU that a part is of.
fn whole(name: &str) -> &str {
    name.split('[').next().unwrap_or_default()
}

/// Adds a part of a GPU, one of `count`, with the GPU's links.
fn add(topology: &mut Topology, name: &str, count: u64) {
    let whole = whole(name);
    let Some(mut part) = topology.device(whole).cloned() else { return };
    part.name = name.to_owned();
    part.memory_bytes /= count;
    let share = |rate: &mut u64| *rate = (*rate / count).max(1);
    for team in &mut part.teams {
        team.reads.iter_mut().for_each(|read| share(&mut read.bytes_per_second));
        let rates = &mut team.operations;
        [&mut rates.int8, &mut rates.f16, &mut rates.f32, &mut rates.exp].into_iter().for_each(share);
    }
    topology.devices.push(part);
    let renamed = |end: &String| if end == whole { name.to_owned() } else { end.clone() };
    let own = topology.links.iter().filter(|link| link.from == whole || link.to == whole);
    let own: Vec<Link> =
        own.map(|link| Link { from: renamed(&link.from), to: renamed(&link.to), ..link.clone() }).collect();
    topology.links.extend(own);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::topology::Kind;

    #[test]
    fn parts_of_a_gpu_have_their_share_and_its_links() {
        let text = r#"(version: 2, devices: [
            (name: "cpu:0", kind: cpu, memory_bytes: 64, threads: 1, teams: [(launch_ns: 1, operations: (int8: 8, f16: 8, f32: 8, exp: 8), reads: [(bytes: 1, bytes_per_second: 8)])]),
            (name: "vulkan:0", kind: gpu, memory_bytes: 64, teams: [(launch_ns: 1, operations: (int8: 8, f16: 8, f32: 8, exp: 8), reads: [(bytes: 1, bytes_per_second: 80)])]),
        ], links: [
            (from: "cpu:0", to: "vulkan:0", latency_ns: 5, bytes_per_second: 7),
            (from: "vulkan:0", to: "vulkan:0", latency_ns: 5, bytes_per_second: 7),
        ])"#;
        let topology = Topology::from_text(text).unwrap();
        let part = |name: &str| Device { name: name.into(), kind: Kind::Gpu, ..Device::cpu(0, 1) };
        let wanted = [part("vulkan:0[0]"), part("vulkan:0[1]"), Device::cpu(2, 1)];
        let parts = of_gpus(topology.clone(), &wanted);
        assert_eq!(parts.verify(), []);
        let second = parts.device("vulkan:0[1]").unwrap();
        assert_eq!((second.memory_bytes, second.teams[0].reads[0].bytes_per_second), (32, 40));
        assert_eq!(second.teams[0].operations.f32, 4);
        let names = ["cpu:0", "vulkan:0[0]", "vulkan:0[1]"];
        for (from, to) in names.iter().flat_map(|from| names.iter().map(move |to| (*from, *to))) {
            let is_host = from == "cpu:0" && to == "cpu:0";
            assert_eq!(parts.route(from, to).is_some(), !is_host, "{from} to {to}");
        }
        assert_eq!(of_gpus(topology.clone(), &[part("vulkan:0")]), topology);
    }
}
