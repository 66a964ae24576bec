//! Questions to `heddle`, of which a script plays the part: what it is asked, and what becomes of its answers.
use ir::plan::{Hint, Pattern};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use viewer::heddle::{Heddle, HeddleError, Job, Verdict};
use viewer::wake::nobody;

/// A `heddle` that does what a script says, with `$F` for its folder.
fn heddle(script: &str) -> (tempfile::TempDir, Heddle) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heddle");
    fs::write(&path, format!("#!/bin/sh\nF='{}'\n{script}\n", folder.path().display())).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let heddle = Heddle::at(path);
    (folder, heddle)
}

/// One that keeps what it is asked.
fn asked(answer: &str) -> (tempfile::TempDir, Heddle) {
    let keep = r#"for a in "$@"; do
                    case "$a" in
                      --hints=*) cp "${a#--hints=}" "$F/hints"; echo --hints;;
                      *) echo "$a";;
                    esac
                  done > "$F/asked""#;
    heddle(&format!("{keep}\ncat <<'END'\n{answer}\nEND"))
}

fn was_asked(folder: &tempfile::TempDir) -> Vec<String> {
    fs::read_to_string(folder.path().join("asked")).unwrap().lines().map(str::to_owned).collect()
}

fn wait_until(mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// As `heddle edit --json` wrote it.
const CHANGE: &str = r#"{"is_equal":false,"moved":[{"from":["cpu:0"],"to":["cpu:1"],"nodes":["blk.{20..21}"],"count":32}],"formats":[{"from":"q4_1","to":"q8_0","weights":["blk.3.ffn_down"],"count":1,"before_bytes":10,"after_bytes":18}],"edges":{"gone":[],"new":[]},"prompt_tokens":512,"before":{"prefill_ms":null,"decode_ms":null,"edge_bytes":2304,"devices":[{"name":"cpu:0","peak_bytes":178818336}]},"after":{"prefill_ms":2.5,"decode_ms":0.5,"edge_bytes":2304,"devices":[{"name":"cpu:0","peak_bytes":168093984}]},"untimed":"this machine was never measured","items":["+ option hints: []"]}"#;

#[test]
fn what_if_asks_for_all_hints_and_gives_what_they_cost() {
    let (folder, heddle) = asked(CHANGE);
    let nodes = |text: &str| Pattern::try_from(text.to_owned()).unwrap();
    let hints = [
        Hint::Place { nodes: nodes("blk.{20..21}"), device: "cpu:1".into() },
        Hint::Whole { nodes: nodes("-x") },
        Hint::Stage { stage: 1, first_layer: 12 },
        Hint::Format { weights: nodes("blk.3.ffn_down"), format: Hint::format_of("q8_0").unwrap() },
    ];
    let verdict = heddle.what_if(Path::new("-a b.heddle"), &hints, nobody()).wait().unwrap();
    let expected = ["edit", "--json", "--forget", "--hints", "--dry-run", "--", "-a b.heddle"];
    assert_eq!(was_asked(&folder), expected);
    let read = Hint::read(&fs::read_to_string(folder.path().join("hints")).unwrap()).unwrap();
    assert_eq!(read.into_iter().map(|(_, hint)| hint).collect::<Vec<_>>(), hints);
    let Verdict::Sound(change) = verdict else { panic!("{verdict:?}") };
    assert_eq!(
        (change.moved[0].count, change.after.decode_ms, change.before.decode_ms),
        (32, Some(0.5), None)
    );
    assert_eq!((change.formats[0].to.as_str(), change.after.devices[0].peak_bytes), ("q8_0", 168093984));
    let edited = heddle.edit(Path::new("b"), &hints[..1], nobody()).wait().unwrap();
    // More than a command line holds.
    let many =
        |n| Hint::Place { nodes: nodes(&format!("blk.{n}.{}", "x".repeat(200))), device: "cpu:1".into() };
    let many: Vec<Hint> = (0..20_000).map(many).collect();
    heddle.what_if(Path::new("b"), &many, nobody()).wait().unwrap();
    let read = Hint::read(&fs::read_to_string(folder.path().join("hints")).unwrap()).unwrap();
    assert_eq!(read.len(), many.len());
    heddle.edit(Path::new("b"), &hints[..1], nobody()).wait().unwrap();
    assert!(edited == *change && !was_asked(&folder).contains(&"--dry-run".to_owned()));
}

#[test]
fn why_is_read_with_what_else_there_was() {
    let answer = r#"[{"about":"blk.0","decision":"blk.0 runs on cpu:0","cost_ns":12,"limit":"reading","measure":"a token","whole_ns":34,"instead":[{"what":"it on cpu:1","predicted_ns":56,"more_messages":1,"hints":["Place()"]},{"what":"x","predicted_ns":null,"reason":"too large"}]}]"#;
    let (folder, heddle) = asked(answer);
    let answers = heddle.why(Path::new("b.heddle"), Some("blk.0"), nobody()).wait().unwrap();
    assert_eq!(was_asked(&folder), ["why", "--json", "--", "b.heddle", "blk.0"]);
    let [why] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(
        (why.cost_ns, why.instead[0].predicted_ns, why.instead[1].predicted_ns),
        (Some(12), Some(56), None)
    );
    assert_eq!(why.instead[1].reason, "too large");
}

#[test]
fn a_refusal_is_a_verdict_in_heddle_s_own_words() {
    let script = "echo packing >&2; echo 'error: blk.0 cannot be both' >&2; echo 'on two' >&2; exit 1";
    let (_folder, heddle) = heddle(script);
    let verdict = heddle.what_if(Path::new("b"), &[], nobody()).wait().unwrap();
    assert_eq!(verdict, Verdict::Refused { reason: "blk.0 cannot be both\non two".into() });
    for refused in [
        heddle.spans(Path::new("b"), 8, nobody()).wait().unwrap_err(),
        heddle.edit(Path::new("b"), &[], nobody()).wait().unwrap_err(),
    ] {
        assert!(
            matches!(&refused, HeddleError::Refused { said } if said.starts_with("blk.0")),
            "{refused:?}"
        );
    }
}

#[test]
fn numbers_that_are_wrong_are_an_answer_though_the_command_fails() {
    let numbers = r#"{"tokens":3,"compared":9,"apart":0,"reformatted":0,"jump":0.1,"drift":0.2,"logits":null,"layers":[],"first":null}"#;
    let (_folder, heddle) = heddle(&format!("echo '{numbers}'; exit 1"));
    let found = heddle.numerics(Path::new("b"), "-p", nobody()).wait().unwrap();
    assert_eq!((found.tokens, found.jump), (3, 0.1));
}

#[test]
fn what_is_no_answer_is_an_error_that_says_so() {
    for (script, expected) in [
        ("echo '{\"is_equal\":'", "cannot read what heddle why answers: "),
        ("exit 3", "heddle why ended without an answer: exit status: 3"),
        ("kill -9 $$", "heddle why ended without an answer: signal: 9"),
    ] {
        let (_folder, heddle) = heddle(script);
        let found = heddle.why(Path::new("a"), None, nobody()).wait().unwrap_err().to_string();
        assert!(found.starts_with(expected), "{found}");
    }
    let missing = Heddle::at("/no/such/heddle").spans(Path::new("b"), 8, nobody()).wait().unwrap_err();
    assert!(missing.to_string().starts_with("cannot start /no/such/heddle: "), "{missing}");
}

#[test]
fn who_says_much_on_both_ends_is_heard_to_the_end() {
    let script = "i=0; while [ $i -lt 4000 ]; do i=$((i+1))
                    echo 'a complaint of fifty letters, more than a pipe holds' >&2; echo 'an answer of as many letters'
                  done";
    let (_folder, heddle) = heddle(script);
    assert_eq!(heddle.spans(Path::new("b"), 8, nobody()).wait().unwrap().lines().count(), 4000);
}

/// Whether the process that a script wrote down is gone.
fn is_gone(folder: &Path) -> bool {
    let pid = fs::read_to_string(folder.join("pid")).unwrap();
    !Path::new("/proc").join(pid.trim()).exists()
}

#[test]
fn a_question_that_is_given_up_is_answered_at_once_and_its_process_killed() {
    let (folder, heddle) = heddle("echo $$ > \"$F/part\"; mv \"$F/part\" \"$F/pid\"; exec sleep 1000");
    let begun = || wait_until(|| folder.path().join("pid").exists());
    let woken = Arc::new(AtomicU32::new(0));
    let own = woken.clone();
    let wake = Arc::new(move || _ = own.fetch_add(1, Ordering::Relaxed));
    let job = heddle.spans(Path::new("b"), 8, wake);
    begun();
    assert!(job.poll().is_none());
    job.cancel();
    let mut answer = None;
    wait_until(|| {
        answer = answer.take().or_else(|| job.poll());
        answer.is_some()
    });
    assert!(matches!(answer, Some(Err(HeddleError::Cancelled))), "{answer:?}");
    wait_until(|| woken.load(Ordering::Relaxed) == 1);
    assert!(is_gone(folder.path()));
    fs::remove_file(folder.path().join("pid")).unwrap();
    let job: Job<String> = heddle.spans(Path::new("b"), 8, nobody());
    begun();
    drop(job);
    assert!(is_gone(folder.path()));
}

#[test]
fn the_file_of_hints_is_gone_as_soon_as_its_question_is() {
    let script = r#"for a; do case $a in --hints=*) echo "${a#--hints=}" > "$F/part";; esac; done
                    mv "$F/part" "$F/path"; exec sleep 1000"#;
    let (folder, heddle) = heddle(script);
    let job = heddle.what_if(Path::new("b"), &[], nobody());
    wait_until(|| folder.path().join("path").exists());
    let path = fs::read_to_string(folder.path().join("path")).unwrap();
    assert!(Path::new(path.trim()).exists());
    drop(job);
    assert!(!Path::new(path.trim()).parent().unwrap().exists());
}
