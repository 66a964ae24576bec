//! `heddle pull hf:…` against a hub of our own, well and badly behaved.
mod support;

use std::fs;
use std::time::Duration;
use support::hub::{Hub, Page};
use support::{Home, done, wait_until};

const FILE: &str = "/o/r/resolve/main/m.gguf";

/// Some bytes, and their sha256 as other programs computed it.
fn model() -> Vec<u8> {
    (0..50_000_u32).map(|i| (i % 251) as u8).collect()
}
const SHA256: &str = "819e1ce4db744eb7573f7d5036d64f3c52184201ffa2ece0a2491a51ef14aba0";

fn pull(home: &Home, hub: &Hub, name: &str) -> support::Done {
    done(home.heddle(&["pull", name]).env("HF_ENDPOINT", &hub.address).output().unwrap())
}

#[test]
fn a_file_is_fetched_once_checked_and_listed() {
    let home = Home::new();
    let hub = Hub::serve(&[(FILE, Page::of(model()).header("x-linked-etag", &format!("\"{SHA256}\"")))]);
    let path = pull(&home, &hub, "hf:o/r/m.gguf").ok();
    assert_eq!(std::fs::read(path.trim()).unwrap(), model());
    assert_eq!(home.cached(), ["models/hf--o--r--m.gguf/m.gguf", "models/hf--o--r--m.gguf/model.json"]);

    assert_eq!(pull(&home, &hub, "hf:o/r/m.gguf").ok(), path);
    assert_eq!(hub.asked().len(), 1, "a kept model is not fetched again");

    let list = home.run(&["models", "--json"]).ok();
    assert!(
        list.contains(r#""name":"hf:o/r/m.gguf","bytes":50000,"architecture":null"#) && list.contains(SHA256),
        "{list}"
    );
    home.run(&["rm", "hf:o/r/m.gguf"]).ok();
    assert_eq!(home.run(&["models", "--json"]).ok(), "[]\n");
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let home = Home::new();
    let hub = Hub::serve(&[(FILE, Page { cuts: 2, ..Page::of(model()) }.header("etag", "\"one\""))]);
    let path = pull(&home, &hub, "hf:o/r/m.gguf").ok();
    assert_eq!(std::fs::read(path.trim()).unwrap(), model());
    let ranges: Vec<_> = hub.asked().into_iter().map(|(_, range, _)| range).collect();
    assert_eq!(ranges, [None, Some("bytes=25000-".into()), Some("bytes=37500-".into())]);
}

#[test]
fn a_killed_pull_is_resumed_by_the_next() {
    let home = Home::new();
    let slow = Page { pause: Duration::from_millis(60), ..Page::of(model()) }.header("etag", "\"one\"");
    let hub = Hub::serve(&[(FILE, slow)]);
    let mut child = home.heddle(&["pull", "hf:o/r/m.gguf"]).env("HF_ENDPOINT", &hub.address).spawn().unwrap();
    let part = home.cache().join("partial/hf--o--r--m.gguf/m.gguf.part");
    wait_until(|| part.metadata().is_ok_and(|part| part.len() > 2000));
    child.kill().unwrap();
    child.wait().unwrap();
    let had = part.metadata().unwrap().len();

    let hub = Hub::serve(&[(FILE, Page::of(model()).header("etag", "\"one\""))]);
    let path = pull(&home, &hub, "hf:o/r/m.gguf").ok();
    assert_eq!(std::fs::read(path.trim()).unwrap(), model());
    assert_eq!(hub.asked()[0].1, Some(format!("bytes={had}-")));
}

#[test]
fn a_part_of_another_version_is_not_continued() {
    let home = Home::new();
    let folder = home.cache().join("partial/hf--o--r--m.gguf");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("m.gguf.part"), "old bytes").unwrap();
    std::fs::write(folder.join("m.gguf.etag"), "old").unwrap();
    let hub = Hub::serve(&[(FILE, Page::of(model()).header("etag", "\"new\""))]);
    let path = pull(&home, &hub, "hf:o/r/m.gguf").ok();
    assert_eq!(std::fs::read(path.trim()).unwrap(), model());
}

#[test]
fn a_part_that_was_whole_already_is_only_checked() {
    let home = Home::new();
    let folder = home.cache().join("partial/hf--o--r--m.gguf");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("m.gguf.part"), model()).unwrap();
    std::fs::write(folder.join("m.gguf.etag"), SHA256).unwrap();
    let hub = Hub::serve(&[(FILE, Page::of(model()).header("x-linked-etag", SHA256))]);
    pull(&home, &hub, "hf:o/r/m.gguf").ok();
    assert_eq!(hub.asked()[0].1, Some("bytes=50000-".into()));
}

#[test]
fn bytes_with_another_hash_are_refused_and_thrown_away() {
    let home = Home::new();
    let hub = Hub::serve(&[(FILE, Page::of("other bytes").header("x-linked-etag", SHA256))]);
    let error = pull(&home, &hub, "hf:o/r/m.gguf").refused();
    assert!(error.contains(&format!("expected {SHA256}")), "{error}");
    assert!(home.cached().is_empty(), "{:?}", home.cached());
}

#[test]
fn a_redirect_is_followed_but_not_with_the_token() {
    let home = Home::new();
    let store = Hub::serve(&[("/blob", Page::of(model()).header("etag", "\"store\""))]);
    let to_store = Page { status: Some(302), ..Page::default() }
        .header("location", &format!("{}/blob", store.address))
        .header("x-linked-etag", SHA256);
    let moved =
        Page { status: Some(307), ..Page::default() }.header("location", "/o/new/resolve/main/m.gguf");
    let hub = Hub::serve(&[(FILE, moved), ("/o/new/resolve/main/m.gguf", to_store)]);
    let mut command = home.heddle(&["pull", "hf:o/r/m.gguf"]);
    command.env("HF_ENDPOINT", &hub.address).env("HF_TOKEN", "secret");
    done(command.output().unwrap()).ok();
    let tokens = |hub: &Hub| hub.asked().into_iter().map(|(_, _, token)| token).collect::<Vec<_>>();
    assert_eq!(tokens(&hub), [Some("Bearer secret".into()), Some("Bearer secret".into())]);
    assert_eq!(tokens(&store), [None]);
}

#[test]
fn a_repository_gives_its_one_gguf_or_asks_which() {
    let home = Home::new();
    let list = |names: &[&str]| {
        let lfs = format!(r#""size":50000,"lfs":{{"sha256":"{SHA256}","size":50000}}"#);
        let rows: Vec<String> =
            names.iter().map(|name| format!(r#"{{"rfilename":"{name}",{lfs}}}"#)).collect();
        Page::of(format!(r#"{{"sha":"abc","siblings":[{}]}}"#, rows.join(",")))
    };
    let hub = Hub::serve(&[
        ("/api/models/o/r/revision/main?blobs=true", list(&["README.md", "m.gguf"])),
        ("/api/models/o/two/revision/main?blobs=true", list(&["a.gguf", "b.gguf"])),
        ("/o/r/resolve/abc/m.gguf", Page::of(model())),
    ]);
    let path = pull(&home, &hub, "hf:o/r").ok();
    assert!(path.trim().ends_with("models/hf--o--r/m.gguf"), "{path}");
    let error = pull(&home, &hub, "hf:o/two").refused();
    assert!(error.contains("hf:o/two/a.gguf (50.00 kB)"), "{error}");
}

#[test]
fn a_safetensors_folder_is_kept_as_a_folder() {
    let home = Home::new();
    let rows = ["config.json", "model.safetensors", "tokenizer.json", "README.md"]
        .map(|name| format!(r#"{{"rfilename":"{name}"}}"#));
    let hub = Hub::serve(&[
        (
            "/api/models/o/r/revision/main?blobs=true",
            Page::of(format!(r#"{{"siblings":[{}]}}"#, rows.join(","))),
        ),
        ("/o/r/resolve/main/config.json", Page::of("{}")),
        ("/o/r/resolve/main/tokenizer.json", Page::of("{}")),
        ("/o/r/resolve/main/model.safetensors", Page::of(model())),
    ]);
    let path = pull(&home, &hub, "hf:o/r").ok();
    assert!(path.trim().ends_with("models/hf--o--r"), "{path}");
    assert_eq!(
        home.cached(),
        ["config.json", "model.json", "model.safetensors", "tokenizer.json"]
            .map(|f| format!("models/hf--o--r/{f}"))
    );
}

#[test]
fn refusals_say_what_to_do() {
    let home = Home::new();
    let hub = Hub::serve(&[("/o/gated/resolve/main/m.gguf", Page { status: Some(401), ..Page::default() })]);
    let error = pull(&home, &hub, "hf:o/gated/m.gguf").refused();
    assert!(error.contains("401") && error.contains("HF_TOKEN"), "{error}");
    let error = pull(&home, &hub, "hf:o/none/m.gguf").refused();
    assert!(error.contains("404") && error.contains("no such model or file"), "{error}");
    assert!(home.cached().is_empty(), "{:?}", home.cached());
}

#[test]
fn without_a_network_the_error_says_so() {
    let home = Home::new();
    let error = home.run(&["pull", "hf:o/r/m.gguf"]).refused();
    assert!(error.contains("cannot reach http://127.0.0.1:9 (is there a network?)"), "{error}");
    assert!(error.contains("(is there a network?): "), "{error}");
    assert!(
        fs::read_dir(home.cache().join("partial")).unwrap().next().is_none(),
        "nothing came, nothing stays"
    );
}

#[test]
fn what_killed_processes_left_goes_with_the_next_pull() {
    let home = Home::new();
    let of = |name: &str| home.cache().join(name);
    let left = ["partial/hf--o--r/sub", "partial/mine", "models/hf--o--r"];
    left.iter().for_each(|folder| fs::create_dir_all(of(folder)).unwrap());
    fs::write(of("partial/mine/a.gguf"), "half").unwrap();
    fs::create_dir(of("partial/hf--o--s")).unwrap();
    fs::write(of("partial/hf--o--s/m.gguf.part"), "half").unwrap();
    home.run(&["pull", "no-such-model"]).refused();
    assert!(left.iter().all(|folder| of(folder).exists()), "a name that means nothing does nothing");
    home.run(&["pull", "hf:o/r/m.gguf"]).refused();
    assert_eq!(home.cached(), ["partial/hf--o--s/m.gguf.part"], "which can be resumed");
    assert!(left.iter().all(|folder| !of(folder).exists()));
}

#[test]
fn of_two_processes_one_fetches_and_the_other_waits() {
    let home = Home::new();
    let slow = Page { pause: Duration::from_millis(20), ..Page::of(model()) }.header("etag", "\"one\"");
    let hub = Hub::serve(&[(FILE, slow)]);
    let start = || home.heddle(&["pull", "hf:o/r/m.gguf"]).env("HF_ENDPOINT", &hub.address).spawn().unwrap();
    let first = start();
    wait_until(|| !hub.asked().is_empty());
    let second = done(start().wait_with_output().unwrap());
    let first = done(first.wait_with_output().unwrap());
    assert!(second.err.contains("waiting for another process"), "{second:?}");
    assert_eq!(first.ok(), second.ok());
    assert_eq!(hub.asked().len(), 1);
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_130_and_a_part_to_resume() {
    let home = Home::new();
    let slow = Page { pause: Duration::from_millis(60), ..Page::of(model()) }.header("etag", "\"one\"");
    let hub = Hub::serve(&[(FILE, slow)]);
    let child = home.heddle(&["pull", "hf:o/r/m.gguf"]).env("HF_ENDPOINT", &hub.address).spawn().unwrap();
    let part = home.cache().join("partial/hf--o--r--m.gguf/m.gguf.part");
    wait_until(|| part.metadata().is_ok_and(|part| part.len() > 2000));
    support::interrupt(&child);
    let left = done(child.wait_with_output().unwrap());
    assert_eq!((left.code, left.out.as_str()), (Some(130), ""));
    assert!(part.exists());
}
