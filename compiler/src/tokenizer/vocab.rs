//! The tokens of a model: bytes by id, and ids by bytes.
//!
//! One arena of bytes and one table of ids, instead of a map of strings: a vocabulary of 262,144 tokens
//! is then some 6 MB and is built in tens of milliseconds.
use super::TokenizerError;
use std::hash::{BuildHasher, RandomState};

/// What a token is for; the values are those of `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal = 1,
    Unknown = 2,
    /// Steers the model and is never text: a turn's beginning or end, padding.
    Control = 3,
    /// Text that is always one token, wherever it stands.
    UserDefined = 4,
    Unused = 5,
    /// One byte that no other token covers.
    Byte = 6,
}

impl Kind {
    pub(super) fn from_id(id: i128) -> Option<Self> {
        use Kind::*;
        [Normal, Unknown, Control, UserDefined, Unused, Byte].into_iter().find(|kind| *kind as i128 == id)
    }

    /// Whether plain text may become this token by merging.
    fn is_text(self) -> bool {
        matches!(self, Kind::Normal | Kind::UserDefined)
    }
}

const FREE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Vocab {
    bytes: Vec<u8>,
    /// Where each token's bytes end in `bytes`.
    ends: Vec<u32>,
    kinds: Vec<Kind>,
    /// Ids of text tokens at the hash of their bytes, or the next free slot; a power of two long.
    slots: Vec<u32>,
    /// The token of each byte that text can fall back to.
    byte_ids: [Option<u32>; 256],
    hasher: RandomState,
}

impl Vocab {
    /// A vocabulary without tokens, with room for `count`.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(count.saturating_mul(8)),
            ends: Vec::with_capacity(count),
            kinds: Vec::with_capacity(count),
            slots: vec![FREE; (count * 2).next_power_of_two()],
            byte_ids: [None; 256],
            hasher: RandomState::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    /// The bytes of `id`; none for an id that the vocabulary has not.
    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        let i = id as usize;
        let Some(&end) = self.ends.get(i) else { return &[] };
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// The text token with exactly these bytes.
    pub(super) fn id(&self, bytes: &[u8]) -> Option<u32> {
        match self.slots[self.slot(bytes)] {
            FREE => None,
            id => Some(id),
        }
    }

    /// The token that stands for one byte.
    pub(super) fn byte_id(&self, byte: u8) -> Option<u32> {
        self.byte_ids[byte as usize]
    }

    /// Every token that is recognised in text as a whole, before any merging.
    pub(super) fn whole(&self) -> impl Iterator<Item = (u32, Kind)> {
        let kinds = self.kinds.iter().enumerate();
        kinds
            .filter(|(_, kind)| matches!(kind, Kind::Control | Kind::UserDefined))
            .map(|(id, kind)| (id as u32, *kind))
    }

    /// Appends the next token, of the many that there is room for.
    pub(super) fn push(&mut self, bytes: &[u8], kind: Kind) -> Result<(), TokenizerError> {
        let id = self.ends.len() as u32;
        let end = u32::try_from(self.bytes.len() + bytes.len()).ok();
        // Half of the slots stay free, so that looking for one always ends.
        let Some(end) = end.filter(|_| self.ends.len() * 2 < self.slots.len()) else {
            return Err(TokenizerError::TooLarge { tokens: self.ends.len() + 1 });
        };
        self.bytes.extend_from_slice(bytes);
        self.ends.push(end);
        self.kinds.push(kind);
        if kind == Kind::Byte
            && let [byte] = bytes
        {
            self.byte_ids[*byte as usize] = Some(id);
        }
        // Of two tokens with the same text the first is the one that text becomes.
        let slot = self.slot(bytes);
        if kind.is_text() && self.slots[slot] == FREE {
            self.slots[slot] = id;
        }
        Ok(())
    }

    /// Where `bytes` stand among the slots, or would.
    fn slot(&self, bytes: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(bytes) as usize & mask;
        while self.slots[slot] != FREE && self.bytes(self.slots[slot]) != bytes {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_ids_answer_to_one_another() {
        let mut vocab = Vocab::with_capacity(5);
        let tokens: [(&[u8], Kind); 5] = [
            (b"a", Kind::Normal),
            (b"", Kind::Normal),
            (b"<end>", Kind::Control),
            (b"a", Kind::Normal),
            (b"\n", Kind::Byte),
        ];
        for (bytes, kind) in tokens {
            vocab.push(bytes, kind).unwrap();
        }
        assert_eq!((vocab.id(b"a"), vocab.id(b"b")), (Some(0), None));
        assert_eq!((vocab.id(b"<end>"), vocab.id(b"\n")), (None, None), "neither is text");
        assert_eq!((vocab.byte_id(b'\n'), vocab.byte_id(b'a')), (Some(4), None));
        assert_eq!((vocab.bytes(2), vocab.bytes(1), vocab.bytes(9)), (&b"<end>"[..], &b""[..], &b""[..]));
        while vocab.len() < 8 {
            vocab.push(b"b", Kind::Normal).unwrap();
        }
        assert!(matches!(vocab.push(b"c", Kind::Normal), Err(TokenizerError::TooLarge { tokens: 9 })));
    }
}
