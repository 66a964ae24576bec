//! What a step gives the host: the candidates of each row that was asked for, and all its logits if somebody wants them.

/// The rows of a step, in the order in which they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// f32 `[rows, vocabulary]`, or nothing.
    pub(crate) logits: Table,
    /// f32 `[rows, 2, candidates]`: logits, the greatest first, then whose they are.
    pub(crate) best: Table,
}

/// What is known behind a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row<'a> {
    /// The logits of all tokens of the vocabulary.
    Whole(&'a [f32]),
    /// The greatest of them.
    Best {
        /// The greatest first, of equals that of the lower token; NaN counts as plus infinity.
        logits: &'a [f32],
        /// The tokens that have them.
        tokens: &'a [f32],
        /// How many tokens the vocabulary has.
        of: usize,
    },
}

/// Rows of one width.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) width: usize,
    pub(crate) values: Vec<f32>,
}

impl Answers {
    /// Room for so many rows.
    pub(crate) fn new(vocabulary: usize, candidates: usize, rows: usize) -> Answers {
        let table = |width| Table { width, values: Vec::with_capacity(width * rows) };
        Answers { logits: table(vocabulary), best: table(2 * candidates) }
    }

    /// The logits of all rows, one behind the other; none where they were not asked for.
    pub fn logits(&self) -> &[f32] {
        &self.logits.values
    }

    /// Each row: whole where all logits were asked for, else its candidates.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = Row<'_>> {
        let logits = &self.logits;
        let whole = logits.values.chunks_exact(logits.width.max(1)).map(Row::Whole);
        let is_whole = !logits.values.is_empty();
        whole.chain(self.candidates().filter(move |_| !is_whole))
    }

    /// Each row's candidates.
    pub fn candidates(&self) -> impl DoubleEndedIterator<Item = Row<'_>> {
        self.best.values.chunks_exact(self.best.width.max(1)).map(|row| {
            let (logits, tokens) = row.split_at(row.len() / 2);
            Row::Best { logits, tokens, of: self.logits.width }
        })
    }
}

impl Table {
    /// Takes a message that has all rows.
    pub(crate) fn fill(&mut self, message: &[u8]) {
        self.values.clear();
        self.values.extend(message.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)));
    }

    /// Makes room for so many rows, of which several messages bring some each.
    pub(crate) fn expect(&mut self, rows: usize) {
        self.values.clear();
        self.values.resize(rows * self.width, 0.0);
    }

    /// Puts a message's rows where they belong, those that belong somewhere, and says how many numbers that were.
    pub(crate) fn place(&mut self, message: &[u8], rows: &[Option<usize>]) -> usize {
        let width = self.width.max(1);
        let given = message.chunks_exact(width * 4).zip(rows);
        let mut placed = 0;
        for (row, to) in given.filter_map(|(row, to)| Some((row, (*to)?))) {
            let row = row.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            self.values[to * width..].iter_mut().zip(row).for_each(|(to, from)| *to = from);
            placed += width;
        }
        placed
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn a_row_is_whole_where_logits_came() {
        let mut answers = Answers::new(3, 2, 2);
        answers.best.fill(&bytes(&[0.5, 0.25, 2.0, 1.0]));
        let best = Row::Best { logits: &[0.5, 0.25], tokens: &[2.0, 1.0], of: 3 };
        assert!(answers.rows().eq([best]));
        answers.logits.fill(&bytes(&[0.0, 0.25, 0.5]));
        assert!(answers.rows().eq([Row::Whole(&[0.0, 0.25, 0.5])]));
    }

    #[test]
    fn rows_of_several_messages_come_where_they_belong() {
        let mut table = Table { width: 2, values: vec![] };
        table.expect(3);
        assert_eq!(table.place(&bytes(&[1.0, 2.0, 3.0, 4.0]), &[Some(2), None]), 2);
        assert_eq!(table.place(&bytes(&[5.0, 6.0, 7.0, 8.0]), &[Some(0), Some(1)]), 4);
        assert_eq!(table.values, [5.0, 6.0, 7.0, 8.0, 1.0, 2.0]);
        table.expect(0);
        assert_eq!((table.place(&[], &[]), table.values.len()), (0, 0));
    }
}
