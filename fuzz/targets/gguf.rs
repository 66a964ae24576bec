//! Whatever the bytes: the GGUF reader refuses them, or whoever opens the checkpoint finds each tensor inside the
//! file and a tokeniser that answers.
#![no_main]
use compiler::import::Checkpoint;
use compiler::import::gguf::Gguf;
use compiler::tokenizer::{SpecialTokens, Tokenizer};
use libfuzzer_sys::fuzz_target;
use memmap2::MmapMut;

const TEXT: &str = "Hello, \u{2581}world\n\n  123 <|im_end|></s>";

fuzz_target!(|bytes: &[u8]| {
    let mut map = MmapMut::map_anon(bytes.len().max(1)).unwrap();
    map[..bytes.len()].copy_from_slice(bytes);
    let Ok(gguf) = Gguf::from_map("fuzz.gguf".into(), map.make_read_only().unwrap()) else { return };
    gguf.keys().for_each(drop);
    if let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) {
        for special in [SpecialTokens::AsText, SpecialTokens::Parsed] {
            if let Ok(ids) = tokenizer.encode(TEXT, special) {
                tokenizer.decode(&tokenizer.framed(ids));
            }
        }
    }
    let Ok(checkpoint) = Checkpoint::from_gguf(gguf) else { return };
    for (name, info) in &checkpoint.tensors {
        assert_eq!(checkpoint.bytes(name).unwrap().len() as u64, info.byte_len());
    }
    for layer in 0..checkpoint.config.layers {
        checkpoint.config.rope_of(layer).frequencies();
    }
});
