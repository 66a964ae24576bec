//! Values of packed weights, as [`kernels::layout`] has them: tiles of 16 rows, and in them blocks of 32 along k.
//!
//! Units whose numbers follow one another take the rows of a tile, so that what they read at once lies together.
use crate::emit::{Emit, Two, Ty, Val};
use cubecl::ir::Variable;
use kernels::layout::{BLOCK, CodedShape, LEVELS, Width};

/// Groups of four values along k in a block: what a word of codes holds.
pub(crate) const QUADS: usize = BLOCK / 4;

/// A packed matrix with codes, of which a unit reads one row of one tile.
#[derive(Clone, Copy)]
pub(crate) struct Coded {
    pub(crate) shape: CodedShape,
    /// The whole matrix, as words.
    pub(crate) words: Variable,
    /// In words, where the tile begins.
    pub(crate) tile: Val,
    /// Which of the tile's rows: of which four, and which of these.
    pub(crate) four: Val,
    pub(crate) within: Val,
}

/// What values are made of: `scale * code + min`.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) scale: Val,
    pub(crate) min: Val,
}

impl Coded {
    /// The word at so many bytes from the beginning of the tile, and more of them by a number of words.
    fn word(&self, e: &mut Emit, bytes: usize, more: Val) -> Val {
        let at = e.add(self.tile, more);
        let at = e.plus(at, (bytes / 4) as u32);
        e.load(self.words, at, Ty::U32)
    }

    /// Of 16-bit values, one a row, the row's; they begin at so many words and bytes into the tile.
    fn half(&self, e: &mut Emit, from: Val, bytes: usize) -> Val {
        let (pair, odd) = (e.over(self.within, 2), e.rest(self.within, 2));
        let two = e.times(self.four, 2);
        let at = e.add(from, two);
        let at = e.add(at, pair);
        let (pair, shift) = (self.word(e, bytes, at), e.times(odd, 16));
        let bits = e.two(Two::Shr, pair, shift);
        let bits = e.mask(bits, 0xffff);
        e.from_f16(bits)
    }

    /// Of i8, one a row, the row's as f32.
    fn small(&self, e: &mut Emit, from: Val, bytes: usize) -> Val {
        let at = e.add(from, self.four);
        let (four, shift) = (self.word(e, bytes, at), e.times(self.within, 8));
        let byte = e.two(Two::Shr, four, shift);
        let high = e.shl(byte, 24);
        let (high, down) = (e.reinterpret(high, Ty::I32), e.i32(24));
        let value = e.two(Two::Shr, high, down);
        e.cast(value, Ty::F32)
    }

    /// The scales of a block, for each of its parts.
    pub(crate) fn scales(&self, e: &mut Emit, block: Val) -> Vec<Scale> {
        let s = &self.shape;
        let blocks = (s.span / BLOCK) as u32;
        let (stretch, within) = self.stretch(e, block);
        let span = e.over(within, blocks);
        let span = e.times(span, (s.span_bytes / 4) as u32);
        let from = e.add(stretch, span);
        let unit = self.half(e, from, 0);
        let min_unit = s.has_min.then(|| self.half(e, from, s.header_bytes / 2));
        let within = e.rest(block, blocks);
        let groups = e.times(within, (s.groups_bytes() / 4) as u32);
        let groups = e.add(from, groups);
        let part = |part: usize, e: &mut Emit| {
            let at = s.header_bytes + part * 16;
            let (mut scale, mut min) = (unit, min_unit);
            if s.group_bytes > 0 {
                let by = self.small(e, groups, at);
                scale = e.mul(unit, by);
                min = min_unit.map(|unit| {
                    let by = self.small(e, groups, at + s.group_bytes);
                    e.mul(unit, by)
                });
            }
            let min = min.unwrap_or_else(|| {
                let zero = e.f32(-f32::from(s.zero));
                e.mul(scale, zero)
            });
            Scale { scale, min }
        };
        (0..BLOCK / s.share).map(|index| part(index, e)).collect()
    }

    /// Of each row four codes of a quad of a block, or of two quads where a byte holds two: from which word of the
    /// matrix on they are, a word a row.
    pub(crate) fn vector(&self, e: &mut Emit, block: Val, quad: usize) -> Val {
        let vector = match self.shape.width {
            Width::Bytes => quad,
            Width::Nibbles { planes } => planes + quad / 2,
            Width::Levels => quad / 2,
        };
        let at = self.block(e, block);
        let at = e.add(self.tile, at);
        e.plus(at, 16 * vector as u32)
    }

    /// In words from the beginning of the tile, where a block's codes begin.
    fn block(&self, e: &mut Emit, block: Val) -> Val {
        let (stretch, within) = self.stretch(e, block);
        let at = e.times(within, (self.shape.block_bytes / 4) as u32);
        let at = e.add(stretch, at);
        e.plus(at, (self.shape.scales_bytes / 4) as u32)
    }

    /// In words from the beginning of the tile, where a block's stretch begins, and which of its blocks it is.
    fn stretch(&self, e: &mut Emit, block: Val) -> (Val, Val) {
        let blocks = (self.shape.stretch / BLOCK) as u32;
        let (stretch, within) = (e.over(block, blocks), e.rest(block, blocks));
        (e.times(stretch, (self.shape.stretch_bytes() / 4) as u32), within)
    }

    /// The codes of four neighbours along k, a block's quad of that number, as f32; `word` is the row's of
    /// [`Coded::vector`].
    pub(crate) fn quad(&self, e: &mut Emit, block: Val, quad: usize, word: Val) -> [Val; 4] {
        let (planes, first, mask) = match self.shape.width {
            Width::Bytes => (0, 0, 0xff),
            Width::Nibbles { planes } => (planes, 4 * (quad as u32 % 2), 0xf),
            Width::Levels => (0, 4 * (quad as u32 % 2), 0xf),
        };
        let at = self.block(e, block);
        let bits: Vec<Val> = (0..planes).map(|plane| self.bits(e, at, 64 * plane + 8 * quad)).collect();
        std::array::from_fn(|k| {
            let shift = 8 * k as u32 + first;
            if bits.is_empty() && self.shape.width != Width::Levels {
                return e.field(word, shift, mask);
            }
            let code = e.shr(word, shift);
            let mut code = e.mask(code, mask);
            for (plane, four) in bits.iter().enumerate() {
                let bit = e.shr(*four, k as u32);
                let bit = e.mask(bit, 1);
                let bit = e.shl(bit, 4 + plane as u32);
                code = e.two(Two::Or, code, bit);
            }
            if self.shape.width == Width::Levels {
                code = level(e, code);
            }
            e.field(code, 0, 0xff)
        })
    }

    /// A row's four bits of a plane's 64.
    fn bits(&self, e: &mut Emit, at: Val, bytes: usize) -> Val {
        let (word, odd) = (e.over(self.four, 2), e.rest(self.four, 2));
        let at = e.add(at, word);
        let (first, within) = (e.times(odd, 16), e.times(self.within, 4));
        let (rows, shift) = (self.word(e, bytes, at), e.add(first, within));
        e.two(Two::Shr, rows, shift)
    }
}

/// The level that a code of 4 bits stands for: one of 16 bytes.
fn level(e: &mut Emit, code: Val) -> Val {
    let words: [u32; 4] =
        std::array::from_fn(|at| u32::from_le_bytes(std::array::from_fn(|byte| LEVELS[at * 4 + byte])));
    let which = e.shr(code, 2);
    let mut word = e.u32(words[0]);
    for (at, other) in words.iter().enumerate().skip(1) {
        let (at, other) = (e.u32(at as u32), e.u32(*other));
        let is_it = e.compare(crate::emit::Compare::Eq, which, at);
        word = e.select(is_it, other, word);
    }
    let rest = e.mask(code, 3);
    let shift = e.times(rest, 8);
    let byte = e.two(Two::Shr, word, shift);
    e.mask(byte, 0xff)
}
