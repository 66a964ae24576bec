//! Whatever numbers a text puts into an operator's line, the reader refuses it or the verifier speaks of it.
use ir::ops::{Input, samples};
use ir::text::read;
use ir::verify::{explain, verify};
use ir::{Graph, NodeId};
use proptest::prelude::*;

const ODD: &[&str] =
    &["0", "1", "3", "-1", "n", "2*n+1", "4294967296", "9223372036854775807", "-9223372036854775807"];

/// A graph of one operator between its inputs.
fn text_of(sample: usize) -> String {
    let all = samples();
    let (op, types) = &all[sample % all.len()];
    let mut g = Graph::new("one");
    let give = |(i, ty): (usize, &ir::TensorType)| -> NodeId {
        let input = Input {
            name: format!("x.{}", ["a", "b", "c", "d", "e", "f"][i]),
            ty: ty.clone(),
            state: false,
            part: None,
        };
        g.add(input, &[]).expect("an input has any type")
    };
    let inputs: Vec<NodeId> = types.iter().enumerate().map(give).collect();
    g.outputs = vec![g.add(op.clone(), &inputs).expect("a sample is sound")];
    g.to_string()
}

/// The text with the number at some place replaced.
fn with_odd_number(text: &str, place: usize, odd: &str) -> String {
    let is_digit = |i: usize| text.as_bytes()[i].is_ascii_digit();
    let starts: Vec<usize> =
        (0..text.len()).filter(|&i| is_digit(i) && (i == 0 || !is_digit(i - 1))).collect();
    let start = starts[place % starts.len()];
    let end = (start..text.len()).find(|&i| !is_digit(i)).unwrap_or(text.len());
    format!("{}{odd}{}", &text[..start], &text[end..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn odd_numbers_are_refused_or_spoken_of(
        sample: usize,
        changes in prop::collection::vec((any::<usize>(), prop::sample::select(ODD)), 1..4),
    ) {
        let text = changes.iter().fold(text_of(sample), |text, (place, odd)| with_odd_number(&text, *place, odd));
        if let Ok(read_once) = read(&text) {
            let written = read_once.graph.to_string();
            prop_assert_eq!(read(&written).map(|again| again.graph.to_string()), Ok(written.clone()), "{}", text);
            explain(&read_once.graph, &verify(&read_once.graph));
        }
    }
}
