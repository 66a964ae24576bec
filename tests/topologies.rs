//! The topologies in `examples/`: each can be read, and its devices reach one another as fast as its first lines say.
use ir::topology::{Kind, Topology};
use std::path::Path;

fn example(name: &str) -> Topology {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/topologies").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Topology::from_text(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Bytes a second between GPUs of these numbers.
fn speed(topology: &Topology, from: u32, to: u32) -> u64 {
    let route = topology.route(&format!("gpu:{from}"), &format!("gpu:{to}")).expect("a way");
    route.bytes_per_second / 1_000_000
}

#[test]
fn every_example_is_sound_and_joins_all_its_devices() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/topologies");
    let readme = std::fs::read_to_string(folder.join("README.md")).expect("the folder says what is in it");
    let files =
        std::fs::read_dir(&folder).expect("the folder is there").map(|file| file.unwrap().file_name());
    let names: Vec<String> =
        files.map(|name| name.into_string().unwrap()).filter(|n| n.ends_with(".ron")).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    for name in names {
        assert!(readme.contains(&name), "{name} is in no table");
        let topology = example(&name);
        assert_eq!(Topology::from_text(&topology.to_text()).as_ref(), Ok(&topology), "{name}");
        let devices: Vec<&str> = topology.devices.iter().map(|device| device.name.as_str()).collect();
        let pairs =
            devices.iter().flat_map(|a| devices.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b);
        assert_eq!(topology.unreachable(pairs), [], "{name}");
    }
}

#[test]
fn messages_take_the_way_that_a_person_would_expect() {
    let pairs = example("8xh100-nvlink-pairs.ron");
    assert_eq!((speed(&pairs, 2, 3), speed(&pairs, 3, 4), speed(&pairs, 7, 0)), (300_000, 64_000, 64_000));
    let switched = example("8xh100-nvswitch.ron");
    assert_eq!((speed(&switched, 2, 3), speed(&switched, 0, 7)), (450_000, 450_000));
    let ethernet = example("2x8xh100-25gbe.ron");
    assert_eq!(
        (speed(&ethernet, 0, 7), speed(&ethernet, 7, 8), speed(&ethernet, 15, 8)),
        (450_000, 3_125, 450_000)
    );
    assert_eq!(ethernet.route("gpu:0", "gpu:8").map(|route| route.links.len()), Some(3));
    let infiniband = example("2x8xh100-infiniband.ron");
    assert_eq!((speed(&infiniband, 0, 1), speed(&infiniband, 0, 8)), (450_000, 50_000));
    let laptop = example("laptop.ron");
    assert_eq!(laptop.devices.iter().map(|d| d.kind).collect::<Vec<_>>(), [Kind::Cpu, Kind::Gpu]);
    assert!(laptop.route("cpu:0", "cpu:0").is_some() && laptop.route("gpu:0", "gpu:0").is_none());
}
