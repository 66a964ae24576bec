//! A field of narrow codes, several to a byte: where each lies is data, so that a format can state it.

/// Codes of `bits` bits from byte `at` of the block on.
///
/// `run` bytes hold `8 / bits` planes: the lowest bits of each byte hold the first `run` codes, the bits above
/// them the next `run`, and so on; then come the next `run` bytes.
pub(super) struct Planes {
    pub(super) at: usize,
    pub(super) bits: u32,
    pub(super) run: usize,
}

impl Planes {
    #[inline(always)]
    pub(super) fn get(&self, block: &[u8], i: usize) -> u8 {
        let (byte, shift) = self.place(i);
        block[byte] >> shift & self.mask()
    }

    pub(super) fn set(&self, block: &mut [u8], i: usize, code: u8) {
        let (byte, shift) = self.place(i);
        block[byte] = block[byte] & !(self.mask() << shift) | (code & self.mask()) << shift;
    }

    #[inline(always)]
    fn place(&self, i: usize) -> (usize, u32) {
        let per_run = self.run * (8 / self.bits as usize);
        let (run, within) = (i / per_run, i % per_run);
        (self.at + run * self.run + within % self.run, (within / self.run) as u32 * self.bits)
    }

    #[inline(always)]
    fn mask(&self) -> u8 {
        (1 << self.bits) - 1
    }
}
