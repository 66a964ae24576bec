//! Sixteen lanes at once, on whatever the machine has: the one vocabulary that kernels are written in.
//!
//! A kernel is written once, generic over [`Simd`], and compiled for every instruction set; which one runs is
//! decided at run time by [`Isa`]. All of them do the same float operations in the same order, fused
//! multiply-adds included, so a kernel gives the same bits on each.
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exp;
mod portable;

pub(super) use exp::{exp, exp2, tanh};

/// An instruction set that this machine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// The best one here.
    pub fn detect() -> Isa {
        Isa::available()[0]
    }

    /// All that this machine can run, best first.
    pub fn available() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni");
            all.extend(avx512.then_some(Isa::Avx512));
            all.extend(avx2.then_some(Isa::Avx2));
        }
        all.push(Isa::Portable);
        all
    }

    /// The name that stands in plans.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        }
    }

    /// Most rows of x that work for this instruction set may take at once.
    pub(super) fn rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::Avx512::ROWS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::Avx2::ROWS,
            Isa::Portable => portable::Portable::ROWS,
        }
    }

    /// Runs `work` compiled for this instruction set.
    ///
    /// # Safety
    /// The machine has the instruction set, and what `work` says of its pointers holds.
    pub(super) unsafe fn run<W: Work>(self, work: W) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::enter(work) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::enter(work) },
            Isa::Portable => unsafe { portable::enter(work) },
        }
    }
}

/// A kernel's inner part, which [`Isa::run`] compiles once for each instruction set.
///
/// `run` and all it calls are `#[inline(always)]`: only code inlined into the function that has the
/// instruction set switched on is compiled for it. So no closures there, which may stay functions of their
/// own, many times as slow.
pub(super) trait Work {
    /// How many rows of x it has in registers; no more than [`Simd::ROWS`].
    const ROWS: usize;

    unsafe fn run<S: Simd>(self);
}

/// Sixteen lanes. Every function is unsafe for one reason: the machine must have the instruction set; those that
/// take a pointer also need it valid for what they read or write, at any alignment.
pub(super) trait Simd: Copy + 'static {
    /// 16 f32.
    type F: Copy;
    /// 16 i32.
    type I: Copy;
    /// 16 × 4 unsigned bytes: the codes of 16 rows at 4 neighbouring k.
    type C: Copy;

    /// How many rows of x one pass over a weight tile serves: what the registers hold.
    const ROWS: usize;
    /// How many sums the registers hold beside what is added to them.
    const SUMS: usize;

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn load_f16(p: *const u8) -> Self::F;
    unsafe fn load_bf16(p: *const u8) -> Self::F;
    unsafe fn load_i8(p: *const u8) -> Self::F;
    unsafe fn store(p: *mut f32, v: Self::F);
    unsafe fn store_f16(p: *mut u8, v: Self::F);

    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// The greater of two, of which neither is NaN.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// a × b + c, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// 2 to the power of each lane, which holds a whole number from −126 to 127.
    unsafe fn exp2_whole(a: Self::F) -> Self::F;
    /// The nearest whole number, halves to even.
    unsafe fn round(a: Self::F) -> Self::F;
    /// The greatest lane.
    unsafe fn max_lane(a: Self::F) -> f32;
    /// The lanes as an array; for what happens once per row, not once per element.
    unsafe fn lanes(a: Self::F) -> [f32; 16];
    /// The lanes of both, taken in turn: the first 16 of them, the other 16.
    unsafe fn zip(a: Self::F, b: Self::F) -> (Self::F, Self::F);
    /// The first, third, … lanes of both; the second, fourth, …: what [`Simd::zip`] took together.
    unsafe fn unzip(a: Self::F, b: Self::F) -> (Self::F, Self::F);

    /// The bits of a float in each lane.
    unsafe fn splat_bits(x: f32) -> Self::I;
    /// The floats whose bits the lanes are.
    unsafe fn bits(a: Self::I) -> Self::F;
    /// Adds to each lane the dot product of its 4 codes with the 4 signed bytes at `x`. `FULL` says that codes
    /// use all 8 bits.
    unsafe fn dot<const FULL: bool>(acc: Self::I, codes: Self::C, x: *const u8) -> Self::I;

    /// 64 codes of a byte each.
    unsafe fn bytes(p: *const u8) -> Self::C;
    /// Writes what [`Simd::bytes`] reads.
    unsafe fn store_bytes(p: *mut u8, codes: Self::C);
    /// 2 × 64 codes of 4 bits, from 64 bytes: the low halves, the high halves.
    unsafe fn nibbles(p: *const u8) -> (Self::C, Self::C);
    /// Adds `bit` to the codes whose bit is set in the mask at `p`, 8 bytes.
    unsafe fn with_bit(codes: Self::C, p: *const u8, bit: u8) -> Self::C;
    /// Replaces each code, below 16, by what the table holds for it.
    unsafe fn lookup(codes: Self::C, table: &[u8; 16]) -> Self::C;
    /// Each row's first code, each row's second, …, as f32.
    unsafe fn split(codes: Self::C) -> [Self::F; 4];
}

/// Compiles work that fits the registers, and nothing for the rest, which nobody asks for.
#[inline(always)]
unsafe fn run_if_it_fits<S: Simd, W: Work>(work: W) {
    if W::ROWS <= S::ROWS {
        unsafe { work.run::<S>() }
    }
}

/// Asks for the cache line at `p`, which need not be valid, ahead of its use.
#[inline(always)]
pub(crate) fn prefetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
