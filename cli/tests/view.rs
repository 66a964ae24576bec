//! `heddle view`: the viewer is found, given what it is to show, and its exit code is the command's.
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use support::{Done, Home, done, fixture};

/// A `heddle` in a folder of its own, where no viewer was built beside it.
struct Alone {
    home: Home,
    folder: tempfile::TempDir,
}

impl Alone {
    fn new() -> Alone {
        let built = Path::new(env!("CARGO_BIN_EXE_heddle"));
        // On the same file system, so that it need not be copied.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::hard_link(built, folder.path().join("heddle")).unwrap();
        Alone { home: Home::new(), folder }
    }

    fn run(&self, args: &[&str]) -> Done {
        done(self.home.program(&self.folder.path().join("heddle"), args).output().unwrap())
    }

    /// Puts a viewer there that says who it is and what it is given, and exits with `code`.
    fn viewer(&self, at: &Path, name: &str, code: i32) {
        let script = format!("#!/bin/sh\necho {name}\nfor a in \"$@\"; do echo \"$a\"; done\nexit {code}\n");
        fs::write(at.join("heddle-view"), script).unwrap();
        fs::set_permissions(at.join("heddle-view"), PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// What a viewer was told that ended well.
    fn told(&self, args: &[&str]) -> Vec<String> {
        self.run(args).ok().lines().map(str::to_owned).collect()
    }
}

fn tiny() -> String {
    fixture("tiny/gguf/llama.gguf").to_str().unwrap().to_owned()
}

#[test]
fn the_viewer_beside_heddle_comes_before_the_one_in_the_path_and_its_code_is_passed_on() {
    let alone = Alone::new();
    fs::write(alone.home.path().join("g.ir"), "graph").unwrap();
    let missing = alone.run(&["view", "g.ir"]).refused();
    let beside = alone.folder.path().join("heddle-view");
    assert!(missing.contains(&format!("{} is not there", beside.display())), "{missing}");
    assert!(missing.contains("cargo install --path viewer"), "{missing}");
    alone.viewer(alone.home.path(), "path", 0);
    assert_eq!(alone.told(&["view", "g.ir"]), ["path", "--", "g.ir"]);
    alone.viewer(alone.folder.path(), "beside", 7);
    let done = alone.run(&["view", "g.ir"]);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(7), "beside\n--\ng.ir\n", ""));
    fs::set_permissions(beside, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(alone.run(&["view", "g.ir"]).refused().contains("cannot start "));
}

#[test]
fn what_is_said_to_heddle_is_said_to_the_viewer() {
    let alone = Alone::new();
    alone.viewer(alone.home.path(), "viewer", 0);
    fs::write(alone.home.path().join("a b.ron"), "(").unwrap();
    let args = ["view", "a b.ron", "--html", "o.html", "--trace", "t", "--numerics", "n", "--compare", "c d"];
    let expected = ["viewer", "--html=o.html", "--trace=t", "--numerics=n", "--compare=c d", "--", "a b.ron"];
    assert_eq!(alone.told(&args), expected);
    assert_eq!(alone.told(&["view", "--watch", "s.sock"]), ["viewer", "--watch=s.sock"]);
    let ignored = alone.run(&["view", "--watch", "s.sock", "--partition", "tensor:2"]).refused();
    assert!(ignored.contains("leave out the options of compilation"), "{ignored}");
    for wrong in [&["view"][..], &["view", "--html", "o.html", "--watch", "s.sock"], &["view", "a", "b"]] {
        assert_eq!(alone.run(wrong).code, Some(2), "{wrong:?}");
    }
    assert!(alone.run(&["view", "--help"]).ok().contains("heddle view --watch /tmp/heddle.sock"));
}

#[test]
fn a_model_is_compiled_once_and_not_packed_unless_it_is_already() {
    let alone = Alone::new();
    alone.viewer(alone.home.path(), "viewer", 0);
    let shown = |args: &[&str]| PathBuf::from(&alone.told(&[&["view", &tiny()], args].concat())[2]);
    let outline = shown(&["--partition", "pipeline:2"]);
    assert!(outline.join("plan.ron").is_file() && outline.join("graphs/00-import.ir").is_file());
    assert!(!outline.join("weights.bin").exists());
    let made = fs::metadata(&outline).unwrap().modified().unwrap();
    assert_eq!(shown(&["--partition", "pipeline:2"]), outline);
    assert_eq!(fs::metadata(&outline).unwrap().modified().unwrap(), made);
    assert_ne!(shown(&["--partition", "tensor:2"]), outline);
    // What runs is looked at as it runs.
    let run = ["run", &tiny(), "--partition", "pipeline:2", "--prompt", "a", "--tokens", "1"];
    alone.run(&run).ok();
    let packed = shown(&["--partition", "pipeline:2"]);
    assert!(packed != outline && packed.join("weights.bin").is_file(), "{packed:?}");
    // A bundle is shown as it is.
    let bundle = packed.to_str().unwrap();
    assert_eq!(alone.told(&["view", bundle])[2], bundle);
    let refused = alone.run(&["view", bundle, "--partition", "none"]).refused();
    assert!(refused.contains("is compiled already"), "{refused}");
    let unknown = alone.run(&["view", "no-such-model"]).refused();
    assert!(unknown.contains("no-such-model"), "{unknown}");
}
