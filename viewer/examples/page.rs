//! Writes the page of a bundle, a plan or a graph: `cargo run -p viewer --example page -- BUNDLE out.html`.
use std::path::Path;
use viewer::document::Document;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = &names[..] else { panic!("expected what to open and what to write") };
    let document = Document::open(Path::new(from)).unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(to, viewer::html::page(&document).unwrap_or_else(|e| panic!("{e}")))
        .unwrap_or_else(|e| panic!("{to}: {e}"));
}
