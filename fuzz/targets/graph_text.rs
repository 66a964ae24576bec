//! Whatever the text: the graph reader refuses it or reads it, the verifier speaks of it, and what is written of it
//! is read as the same.
#![no_main]
use ir::text::read;
use ir::verify::{explain, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(read_once) = read(text) else { return };
    let written = read_once.graph.to_string();
    let again = read(&written).unwrap_or_else(|e| panic!("{e}\n{written}"));
    assert_eq!(again.graph.to_string(), written);
    explain(&read_once.graph, &verify(&read_once.graph));
});
