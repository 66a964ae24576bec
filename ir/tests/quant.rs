//! Quantised formats against fixtures made with the `gguf` Python package, bit for bit, and their rounding
//! against the step that each format has.
use half::{bf16, f16};
use ir::quant::{Format, Parts};
use proptest::prelude::*;

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../tests/fixtures/quant/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn fixture_f32(name: &str) -> Vec<f32> {
    fixture(name).chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn fixture_u16(name: &str) -> Vec<u16> {
    fixture(name).chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect()
}

fn assert_bits(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.to_bits(), expected.to_bits(), "{name} value {i}: {found} for {expected}");
    }
}

fn dequantise(format: Format, blocks: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; blocks.len() / format.block_bytes() * format.block_len()];
    format.dequantise(blocks, &mut out);
    out
}

/// Quantises into bytes that were all ones, so that what is left unwritten shows.
fn quantise(format: Format, values: &[f32]) -> Vec<u8> {
    let mut blocks = vec![0xff; values.len() / format.block_len() * format.block_bytes()];
    format.quantise(values, &mut blocks);
    blocks
}

#[test]
fn every_format_reads_as_the_reference_does() {
    for &format in Format::ALL {
        let blocks = fixture(&format!("{format}.blocks"));
        assert_bits(format.name(), &dequantise(format, &blocks), &fixture_f32(&format!("{format}.f32")));
    }
}

#[test]
fn parts_of_another_format_leave_no_trace() {
    let mut used = Parts::default();
    Format::Q4K.unpack(&fixture("q4_k.blocks"), &mut used);
    let block = &fixture("q6_k.blocks");
    let mut fresh = Parts::default();
    Format::Q6K.unpack(block, &mut used);
    Format::Q6K.unpack(block, &mut fresh);
    assert_eq!(used, fresh);
}

#[test]
fn f16_and_bf16_convert_as_the_reference_does() {
    let f16s: Vec<f32> = fixture_u16("f16.blocks").into_iter().map(|b| f16::from_bits(b).to_f32()).collect();
    assert_bits("f16", &f16s, &fixture_f32("f16.f32"));
    let bf16s: Vec<f32> =
        fixture_u16("bf16.blocks").into_iter().map(|b| bf16::from_bits(b).to_f32()).collect();
    assert_bits("bf16", &bf16s, &fixture_f32("bf16.f32"));

    let rounded: Vec<u16> =
        fixture_f32("f16.values").into_iter().map(|v| f16::from_f32(v).to_bits()).collect();
    assert_eq!(rounded, fixture_u16("f16.rounded"));
    let rounded: Vec<u16> =
        fixture_f32("bf16.values").into_iter().map(|v| bf16::from_f32(v).to_bits()).collect();
    assert_eq!(rounded, fixture_u16("bf16.rounded"));
}

#[test]
fn activations_round_to_the_same_bytes_everywhere() {
    assert_eq!(quantise(Format::Q8A, &fixture_f32("q8_a.values")), fixture("q8_a.rounded"));
}

#[test]
fn a_name_is_read_back() {
    for &format in Format::ALL {
        assert_eq!(Format::parse(format.name()), Some(format));
        assert_eq!(format.block_len() % format.group_len(), 0);
    }
    assert_eq!(Format::parse("Q4_0"), None);
    assert_eq!(Format::parse(""), None);
}

#[test]
fn zeros_stay_zeros() {
    for &format in Format::ALL {
        let blocks = quantise(format, &[0.0; 256]);
        assert_eq!(dequantise(format, &blocks), [0.0; 256], "{format}");
    }
}

#[test]
#[should_panic(expected = "bytes for 64 values")]
fn a_buffer_of_another_length_is_a_bug_of_the_caller() {
    Format::Q4_0.dequantise(&[0; 18], &mut [0.0; 64]);
}

/// Half the largest step that values up to one may need; a whole one where codes reach further on one side.
fn tolerance(format: Format) -> f32 {
    match format {
        Format::Q4_0 => 1.0 / 8.0,
        Format::Q4_1 => 1.0 / 15.0,
        Format::Q5_0 => 1.0 / 16.0,
        Format::Q5_1 => 1.0 / 31.0,
        Format::Q8_0 | Format::Q8A => 1.0 / 254.0,
        // The levels end at -127 and 113.
        Format::Iq4Nl => 14.0 / 127.0,
        // A step is rounded up by at most a unit, and so is a min.
        Format::Q2K => (2.0 + 1.0 / 15.0) / 3.0 * (16.0 / 15.0) / 2.0,
        Format::Q4K => (2.0 + 1.0 / 63.0) / 15.0 * (64.0 / 63.0) / 2.0,
        Format::Q5K => (2.0 + 1.0 / 63.0) / 31.0 * (64.0 / 63.0) / 2.0,
        Format::Q3K => 1.0 / 4.0 * (32.0 / 31.0),
        Format::Q6K => 1.0 / 32.0 * (128.0 / 127.0),
    }
}

fn format() -> impl Strategy<Value = Format> {
    prop::sample::select(Format::ALL)
}

proptest! {
    #[test]
    fn rounding_stays_within_the_step(
        format in format(),
        exponent in -24..13i32,
        shift in -1.0..1.0f32,
        unit in prop::collection::vec(prop_oneof![8 => -1.0..1.0f32, 1 => Just(0.0), 1 => Just(1.0)], 256),
    ) {
        let size = 2f32.powi(exponent);
        let values: Vec<f32> = unit.iter().map(|v| (v + shift) * size).collect();
        let found = dequantise(format, &quantise(format, &values));
        for (block, found) in values.chunks(format.block_len()).zip(found.chunks(format.block_len())) {
            let most = block.iter().fold(0f32, |most, v| most.max(v.abs()));
            // An f16 scale is rounded up by at most 2^-10 of itself, or by 2^-24 where f16 is subnormal: times
            // 14, the furthest that a code may lie from what it stands for (in iq4_nl).
            let allowed = most * tolerance(format) * 1.002 + 14.0 * 2f32.powi(-24);
            for (v, found) in block.iter().zip(found) {
                prop_assert!((v - found).abs() <= allowed, "{format}: {found} for {v}, allowed {allowed}");
            }
        }
    }

    #[test]
    fn any_bits_round_to_something_finite(
        format in format().prop_filter("f32 scales overflow", |&f| f != Format::Q8A),
        bits in prop::collection::vec(any::<u32>(), 256),
    ) {
        let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        prop_assert!(dequantise(format, &quantise(format, &values)).iter().all(|v| v.is_finite()));
    }

    #[test]
    fn any_bytes_are_read_without_panic(format in format(), bytes in prop::collection::vec(any::<u8>(), 210)) {
        dequantise(format, &bytes[..format.block_bytes()]);
    }
}
