//! Runs the binary `heddle` as a user does, with a cache of its own and nothing of this machine's environment.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
pub mod hub;

use ir::topology::{Device, Kind, Read, Team, Topology, VERSION};
use ir::work::Operations;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Two devices, each a thread that reads a byte in a nanosecond, joined as fast.
pub const TOPOLOGY: &str = r#"(
    version: 2,
    devices: [
        (name: "cpu:0", kind: cpu, memory_bytes: 1000000000, threads: 1, teams: [(launch_ns: 10, operations: (int8: 1000000000, f16: 1000000000, f32: 1000000000, exp: 1000000000), reads: [(bytes: 1, bytes_per_second: 1000000000)])]),
        (name: "cpu:1", kind: cpu, memory_bytes: 1000000000, threads: 1, teams: [(launch_ns: 10, operations: (int8: 1000000000, f16: 1000000000, f32: 1000000000, exp: 1000000000), reads: [(bytes: 1, bytes_per_second: 1000000000)])]),
    ],
    links: [
        (from: "cpu:0", to: "cpu:1", latency_ns: 1000, bytes_per_second: 1000000000),
    ],
)
"#;

/// An empty folder with a cache in it; both vanish with the value.
pub struct Home {
    folder: tempfile::TempDir,
}

/// What a finished command left.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Home {
    pub fn new() -> Home {
        Home { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn cache(&self) -> PathBuf {
        self.path().join("cache")
    }

    /// `heddle` with these arguments, an empty PATH, and no way out of this machine.
    pub fn heddle(&self, args: &[&str]) -> Command {
        self.program(Path::new(env!("CARGO_BIN_EXE_heddle")), args)
    }

    /// The same of a `heddle` that stands elsewhere.
    pub fn program(&self, heddle: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(heddle);
        command
            .args(args)
            .env_clear()
            .env("PATH", self.path())
            .env("HEDDLE_CACHE", self.cache())
            .env("HF_ENDPOINT", "http://127.0.0.1:9")
            // What runs where nobody names a device is the same on every machine.
            .env("HEDDLE_GPU", "none")
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, args: &[&str]) -> Done {
        done(self.heddle(args).output().expect("heddle starts"))
    }

    /// Every file below the cache but locks, by relative path.
    pub fn cached(&self) -> Vec<String> {
        let mut files = Vec::new();
        walk(&self.cache(), &mut files);
        let root = self.cache();
        let mut names: Vec<String> =
            files.iter().map(|file| file.strip_prefix(&root).expect("below").display().to_string()).collect();
        names.retain(|name| !name.starts_with("locks/") && !name.ends_with(".lock"));
        names.sort();
        names
    }
}

/// A file or folder of the fixtures that all tests share.
pub fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(path)
}

pub fn done(output: Output) -> Done {
    Done {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

impl Done {
    /// The standard output of a command that succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// The standard error of a command that refused its input.
    pub fn refused(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.out, "", "a refusal prints no result");
        assert!(self.err.contains("error: "), "{self:?}");
        self.err
    }
}

/// What a command printed with `--json`.
pub fn json(done: Done) -> Value {
    serde_json::from_str(&done.ok()).expect("JSON")
}

/// Keeps a topology as if this machine had been measured.
pub fn calibrated(home: &Home) {
    let cpu = json(home.run(&["devices", "--json"]))[0].clone();
    assert_eq!(cpu["calibration"], Value::Null);
    let text = |key: &str| cpu[key].as_str().unwrap_or_default().to_owned();
    let threads = cpu["cores"].as_u64().unwrap() as u32;
    let rate = 1_000_000_000;
    let team = |threads| Team {
        threads,
        launch_ns: 100,
        operations: Operations { int8: 100 * rate, f16: 10 * rate, f32: 10 * rate, exp: rate },
        reads: vec![Read { bytes: 1 << 20, bytes_per_second: 10 * rate }],
        rates: vec![],
    };
    let mut teams = vec![team(1), team(threads)];
    teams.dedup();
    let device = Device {
        name: text("device"),
        kind: Kind::Cpu,
        model: text("model"),
        kernels: text("kernels"),
        memory_bytes: 1 << 30,
        driver: Default::default(),
        threads,
        teams,
    };
    let topology = Topology { version: VERSION, devices: vec![device], switches: vec![], links: vec![] };
    fs::create_dir_all(home.cache()).unwrap();
    fs::write(home.cache().join("topology.ron"), topology.to_text()).unwrap();
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => walk(&path, files),
            path => files.push(path),
        }
    }
}

/// What Ctrl-C does to a process.
#[cfg(unix)]
pub fn interrupt(child: &std::process::Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("kill starts").success());
}

pub fn wait_until(mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}
