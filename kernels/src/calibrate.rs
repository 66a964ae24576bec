//! What cores can do at their best: loops that only compute, and loops that only read, to measure it with.
use crate::simd::{Isa, Simd, Work, exp, prefetch};
use runtime::{Arena, ArenaError};
use std::hint::black_box;
use std::ops::Range;

/// A kind of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Dot products of bytes.
    Int8,
    /// Fused multiplications and additions of f32.
    F32,
    /// Exponentials.
    Exp,
}

/// Computes for `rounds`, in registers alone, and says how many operations that were.
pub fn compute(isa: Isa, arithmetic: Arithmetic, rounds: u64) -> u64 {
    let mut vectors = 0;
    let peak = Peak { arithmetic, rounds: black_box(rounds), vectors: &mut vectors };
    // SAFETY: callers have `isa` from what this machine can run; the loops read and write only what is theirs.
    unsafe { isa.run(peak) };
    let each = match arithmetic {
        Arithmetic::Int8 => 16 * 4 * 2,
        Arithmetic::F32 => 16 * 2,
        Arithmetic::Exp => 16,
    };
    vectors * each
}

struct Peak<'a> {
    arithmetic: Arithmetic,
    rounds: u64,
    /// How many vectors were computed.
    vectors: &'a mut u64,
}

impl Work for Peak<'_> {
    const ROWS: usize = 1;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // As many sums as fit the registers: each waits for its own last one.
        *self.vectors = self.rounds
            * match S::ROWS {
                12.. => unsafe { sums::<S, 12>(self.arithmetic, self.rounds) },
                _ => unsafe { sums::<S, 4>(self.arithmetic, self.rounds) },
            };
    }
}

/// Gives the number of sums.
#[inline(always)]
unsafe fn sums<S: Simd, const N: usize>(arithmetic: Arithmetic, rounds: u64) -> u64 {
    let bytes = black_box([3u8; 64]);
    unsafe {
        match arithmetic {
            Arithmetic::Int8 => {
                let (codes, x) = (S::bytes(bytes.as_ptr()), bytes.as_ptr());
                let mut acc = [S::splat_bits(0.0); N];
                for _ in 0..rounds {
                    for acc in &mut acc {
                        *acc = S::dot::<false>(*acc, codes, x);
                    }
                }
                acc.iter().for_each(|acc| keep::<S>(S::bits(*acc)));
            }
            Arithmetic::F32 => {
                let (a, b) = (S::splat(black_box(0.5)), S::splat(black_box(0.25)));
                let mut acc = [b; N];
                for _ in 0..rounds {
                    for acc in &mut acc {
                        *acc = S::fma(*acc, a, b);
                    }
                }
                acc.iter().for_each(|acc| keep::<S>(*acc));
            }
            Arithmetic::Exp => {
                // e to the power of minus itself stays near 0.57.
                let mut acc = [S::splat(black_box(0.5)); N];
                for _ in 0..rounds {
                    for acc in &mut acc {
                        *acc = exp::<S>(S::sub(S::splat(0.0), *acc));
                    }
                }
                acc.iter().for_each(|acc| keep::<S>(*acc));
            }
        }
    }
    N as u64
}

/// Sees to it that a value is computed.
#[inline(always)]
unsafe fn keep<S: Simd>(v: S::F) {
    black_box(unsafe { S::lanes(v) });
}

/// Memory to read, in huge pages where the system gives them.
pub struct Memory(Arena);

/// Bytes that one turn of the reading loop reads.
const TURN_BYTES: usize = 8 * 64;

impl Memory {
    /// Takes memory, all of it resident.
    pub fn new(bytes: usize) -> Result<Memory, ArenaError> {
        let mut arena = Arena::new(bytes)?;
        arena.prefault()?;
        Ok(Memory(arena))
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The first `bytes` of it, for kernels that only read; none where there are fewer. They are zeros.
    pub fn start(&self, bytes: usize) -> Option<*mut u8> {
        self.0.at(0, bytes).ok()
    }

    /// Reads a part once, and says how many bytes those were: whole turns of it. Where `ahead` is more than 0,
    /// bytes are asked for so far ahead of their use.
    pub fn read(&self, isa: Isa, part: Range<usize>, ahead: usize) -> u64 {
        let turns = part.len() / TURN_BYTES;
        let Ok(start) = self.0.at(part.start, turns * TURN_BYTES) else { return 0 };
        // SAFETY: as in `compute`; the bytes lie in the arena, and nobody writes them.
        unsafe { isa.run(Reading { start, turns, ahead }) };
        (turns * TURN_BYTES) as u64
    }
}

struct Reading {
    start: *const u8,
    turns: usize,
    ahead: usize,
}

impl Work for Reading {
    const ROWS: usize = 1;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            match self.ahead {
                0 => self.read::<S, false>(),
                _ => self.read::<S, true>(),
            }
        }
    }
}

impl Reading {
    #[inline(always)]
    unsafe fn read<S: Simd, const ASK: bool>(self) {
        unsafe {
            // Two registers each where lanes are two registers: no more than four sums fit then.
            let mut sums = [S::splat(0.0); 4];
            for turn in 0..self.turns {
                let p = self.start.add(turn * TURN_BYTES);
                for i in 0..TURN_BYTES / 64 {
                    if ASK {
                        prefetch(p.wrapping_add(self.ahead + 64 * i));
                    }
                    sums[i % 4] = S::add(sums[i % 4], S::load(p.add(64 * i).cast()));
                }
            }
            sums.iter().for_each(|sum| keep::<S>(*sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_computes_and_reads_as_much_as_it_says() {
        let memory = Memory::new(10_000).unwrap();
        for isa in Isa::available() {
            for arithmetic in [Arithmetic::Int8, Arithmetic::F32, Arithmetic::Exp] {
                let (one, ten) = (compute(isa, arithmetic, 1), compute(isa, arithmetic, 10));
                assert!(one > 0 && ten == 10 * one, "{isa:?} {arithmetic:?}");
            }
            let reads = [(0..10_000, 0), (0..511, 64), (512..1536, 1 << 20), (9_990..10_600, 0)];
            let read = reads.map(|(part, ahead)| memory.read(isa, part, ahead));
            assert_eq!(read, [19 * 512, 0, 1024, 0], "{isa:?}");
        }
    }
}
