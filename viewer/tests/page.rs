//! The page: small, closed to what files say, and usable in a browser by pointer and by keyboard.
//!
//! What needs a browser is done in Chromium where its driver is found; CI installs both.
mod bundle;
mod driver;
mod generated;

use bundle::two_devices;
use driver::{Browser, driver, key};
use std::fs;
use std::path::Path;
use viewer::document::Document;
use viewer::html::page;

/// A page in a browser; none where there is no browser.
fn shown(folder: &Path, html: &str) -> Option<Browser> {
    let Some(program) = driver() else {
        eprintln!("no chromedriver: the page is not opened; HEDDLE_CHROMEDRIVER names it");
        return None;
    };
    let path = folder.join("page.html");
    fs::write(&path, html).expect("room for a page");
    Some(Browser::open(&program, &path))
}

#[test]
fn a_page_is_small_and_needs_nothing_else() {
    let folder = two_devices();
    let mut document = Document::open(folder.path()).expect("a bundle");
    document.add_trace(&folder.path().join("trace.json")).expect("a trace");
    let html = page(&document).expect("a page");
    assert!(html.len() < 200_000, "{} bytes", html.len());
    for outside in ["src=", "href=", "url(", "import ", "fetch(", "https:"] {
        assert!(!html.contains(outside), "{outside}");
    }
    // Equal layers are there once: thirty times the layers are no thirty times the page.
    let small = |layers: usize| {
        let path = folder.path().join("g.ir");
        fs::write(&path, generated::graph(layers * generated::LAYER)).expect("room for a graph");
        page(&Document::open(&path).expect("a graph")).expect("a page").len()
    };
    assert!(small(60) < small(2) + 60 * 400, "{} {}", small(2), small(60));
}

#[test]
fn a_person_finds_opens_and_follows_by_pointer_and_by_keyboard() {
    let folder = two_devices();
    let document = Document::open(folder.path()).expect("a bundle");
    let Some(browser) = shown(folder.path(), &page(&document).expect("a page")) else { return };
    // Both devices, and the message between them, are there before anything is done.
    let first = browser.count(".box");
    assert!(browser.text("#about").contains("cpu:1") && browser.count("path.message") == 1);
    assert!(browser.text("text.bytes").is_empty() || browser.count("text.bytes") == 1);

    // Search: from the keyboard, to the node, in the groups that are opened for it.
    browser.press("/blk.1.attn_output");
    assert!(browser.text("#hits").contains("blk.1.attn_output"));
    browser.press(&key::ENTER.to_string());
    assert!(browser.text("#details").starts_with("blk.1.attn_output"), "{}", browser.text("#details"));
    assert_eq!(browser.count(".box.selected"), 1);
    assert!(browser.count(".box") > first && browser.count(".box.open") >= 1);

    // The keyboard: on to the next box, out to the group, close it.
    browser.press(&key::DOWN.to_string());
    let below = browser.text("#details");
    assert!(!below.starts_with("blk.1.attn_output\n"), "{below}");
    browser.press(&key::ESCAPE.to_string());
    assert!(browser.text("#details").starts_with("blk."), "{}", browser.text("#details"));
    browser.press("c");
    assert_eq!(browser.count(".box.open"), 0);

    // The pointer: a double click opens a group, a click shows a node.
    browser.click(".box.group", 2);
    assert!(browser.count(".box.open") == 1, "{}", browser.text("#details"));
    browser.click(".box.node:not(.given)", 1);
    assert!(browser.text("#details").contains("operator"));

    // Passes: back to the first graph, where nothing is fused and nothing is changed.
    let at = "return document.querySelector('#pass').selectedOptions[0].textContent";
    assert_eq!(browser.script(at), "layout");
    browser.press("[[[[[[[[");
    assert_eq!(browser.script(at), "import");
    assert_eq!(browser.count(".box.changed"), 0);
    // What a pass removed is unfolded by the keyboard, too.
    browser.script("setPass(data.passes.findIndex((pass) => pass.removed.length)); document.querySelector('#about summary').focus()");
    browser.press(&key::ENTER.to_string());
    assert_eq!(browser.script("return document.querySelector('#about details').open"), true);
    browser.script("document.querySelector('#stage').focus(); setPass(0)");
    browser.press("o]]]]");
    assert!(browser.count(".box.changed") > 0, "{}", browser.text("#about"));

    // Dark and light, and layers as one or not.
    let theme = "return document.documentElement.dataset.theme";
    let before = browser.script(theme);
    browser.press("t");
    assert_ne!(browser.script(theme), before);
    let folded = "return document.querySelector('#fold').getAttribute('aria-pressed')";
    browser.press("f");
    assert_eq!(browser.script(folded), "false");
    assert_eq!(browser.complaints(), serde_json::json!([]));
}

#[test]
fn layers_drawn_as_one_tell_what_became_of_any_and_a_pass_is_searched_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let graph = |second: &str| {
        format!(
            "graph g {{\n  x = input(): f32[2] <- 0\n  %e = neg(x): f32[2] @embed <- 6\n  %0 = exp(%e): f32[2] @blk.0.a <- 1\n  %1 = neg(%0): f32[2] @blk.0.b <- 2\n  \
             %2 = exp(%1): f32[2] @blk.1.a <- 3\n  %3 = neg(%2): f32[2] @blk.1.b <- {second}\n  %4 = neg(%3): f32[2] @out <- 7\n  return %4\n}}\n"
        )
    };
    let [before, after] = [graph("4"), graph("4, 5")].map(|text| {
        let read = ir::text::read(&text).expect("a graph");
        viewer::document::Flow::of_graph(&read.graph)
    });
    let path = folder.path().join("g.ir");
    fs::write(&path, graph("4")).expect("room for a graph");
    let mut document = Document::open(&path).expect("a graph");
    let change = viewer::document::Matching::between(&before, &after).change();
    assert_eq!(change.counts(), (0, 0, 1));
    document.passes.push(viewer::document::Pass::new("second", 1, after));
    document.passes[1].change = Some(change);
    let Some(browser) = shown(folder.path(), &page(&document).expect("a page")) else { return };
    let folded = "return document.querySelector('.box.group').textContent";
    assert!(browser.script(folded).as_str().expect("text").contains("~1"), "{}", browser.script(folded));
    browser.press("fo");
    assert_eq!(browser.count(".box.changed"), 1, "the last operator, which is as it was in the first layer");
    browser.press("/pass:second");
    assert!(browser.text("#hits").starts_with("1 found"), "{}", browser.text("#hits"));
    // A result is a button, for those who have no pointer.
    browser.script("document.querySelector('#hits button').focus()");
    browser.press(&key::ENTER.to_string());
    assert!(browser.text("#details").starts_with("blk.1.b"), "{}", browser.text("#details"));
    assert_eq!(browser.complaints(), serde_json::json!([]));
}

#[test]
fn what_a_file_says_is_never_more_than_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let hostile =
        "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>&lt;b>'\\u2028";
    let name = hostile.replace('\'', "");
    let text = format!(
        "graph {name:?} {{\n  {name:?} = input(): f32[2]\n  %0 = neg({name:?}): f32[2] @{:?}\n  return %0\n}}\n",
        format!("/*data*/*/<!--{name}.{name}")
    );
    let path = folder.path().join("hostile.ir");
    fs::write(&path, text).expect("room for a graph");
    let html = page(&Document::open(&path).expect("a graph")).expect("a page");
    assert_eq!(html.matches("<script").count(), 2, "one of data and one of ours");
    assert!(!html.contains("<img") && !html.contains("<!--"));
    let Some(browser) = shown(folder.path(), &html) else { return };
    browser.press("o");
    browser.press("/neg");
    browser.press(&key::ENTER.to_string());
    assert!(browser.script("return window.hacked === undefined").as_bool().expect("a truth"));
    assert_eq!(browser.count("img"), 0);
    assert!(browser.text("#details").contains("onerror=window.hacked=1"), "{}", browser.text("#details"));
    assert_eq!(browser.complaints(), serde_json::json!([]));
}
