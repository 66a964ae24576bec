//! The layouts of packed weights: the list, and how many bytes each takes.
//!
//! A weight of `rows` outputs by `cols` inputs lies in tiles of 16 rows, one after the other, the last filled up
//! with zeros. Inside a tile everything lies in the order in which a product along k reads it:
//!
//! - dense: the 16 rows' values at k = 0, then at k = 1, …
//! - coded: stretch after stretch, in each of which the scales of so many k stand before the codes; a stretch has as
//!   many k as make its scales whole cache lines, so that no block of codes lies across one;
//! - their scales, where each 32 values have one: per 32 of k, 16 f16 scales, 16 f16 mins where there are mins;
//! - their scales in `super` layouts: per 256 of k, 16 f16 units of scales, 16 f16 units of mins, then for each 32 of
//!   them 16 i8 scales for each 16 or 32 values, as many i8 mins.
//!
//! So a tile is read from its first byte to its last, and the next goes on from there: processors that read ahead by
//! themselves follow that across tiles, where scales and codes apart made them begin anew in each.
//!
//! A value is `scale × code + min`, or `scale × (code − zero)` in layouts without mins; in `super` layouts the
//! scale is unit × i8, which f32 holds exactly, and so the values are those of the format the weights came in.
pub use super::codes::{BLOCK, LEVELS, TILE, Width};
use super::codes::{Bits, Bytes, Codes, Levels};
use super::simd::Simd;
use ir::DType;
use ir::quant::Format;
use std::marker::PhantomData;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// A coded layout, as a type that kernels are compiled for.
pub(crate) trait Coded {
    type Codes: Codes;
    /// How many values share a scale: 16 or 32.
    const SHARE: usize;
    /// Whether scales are small integers, in units that 256 values share.
    const SUPER: bool;
    const MIN: bool;

    /// Values in k from one header to the next.
    const SPAN: usize = if Self::SUPER { 256 } else { BLOCK };
    const HEADER_BYTES: usize = if Self::MIN { 4 * TILE } else { 2 * TILE };
    /// Bytes of one of a block's two groups of i8, scales or mins.
    const GROUP_BYTES: usize = if Self::SUPER { BLOCK / Self::SHARE * TILE } else { 0 };
    /// Bytes of all of a block's i8.
    const GROUPS_BYTES: usize = if Self::MIN { 2 * Self::GROUP_BYTES } else { Self::GROUP_BYTES };
    /// Bytes of scales and mins for a span.
    const SPAN_BYTES: usize = Self::HEADER_BYTES + Self::SPAN / BLOCK * Self::GROUPS_BYTES;

    /// Values in k whose scales stand together, before their codes.
    const STRETCH: usize = if Self::SPAN_BYTES % LINE == 0 { Self::SPAN } else { 2 * Self::SPAN };
    /// Bytes of a stretch's scales.
    const SCALES_BYTES: usize = Self::STRETCH / Self::SPAN * Self::SPAN_BYTES;
    /// Bytes of a stretch.
    const STRETCH_BYTES: usize = Self::SCALES_BYTES + Self::STRETCH / BLOCK * Self::Codes::BYTES;

    /// Where in a tile the scales of the span at `k` begin, and where its codes.
    #[inline(always)]
    fn span_at(k: usize) -> (usize, usize) {
        let (stretch, within) = (k / Self::STRETCH * Self::STRETCH_BYTES, k % Self::STRETCH);
        let codes = stretch + Self::SCALES_BYTES + within / BLOCK * Self::Codes::BYTES;
        (stretch + within / Self::SPAN * Self::SPAN_BYTES, codes)
    }

    /// Bytes of a tile; the last stretch may have fewer codes.
    #[inline(always)]
    fn tile_bytes(k: usize) -> usize {
        match k % Self::STRETCH {
            0 => k / Self::STRETCH * Self::STRETCH_BYTES,
            _ => Self::span_at(k).1,
        }
    }

    /// The f16 of the header at `p`, which [`Coded::scales`] takes.
    #[inline(always)]
    unsafe fn header<S: Simd>(p: *const u8) -> (S::F, S::F) {
        unsafe {
            let unit = S::load_f16(p);
            (unit, if Self::MIN { S::load_f16(p.add(2 * TILE)) } else { unit })
        }
    }

    /// Scales and mins of part `part` of the block whose i8 are at `p`, such that the values are scale × code + min.
    #[inline(always)]
    unsafe fn scales<S: Simd>(header: (S::F, S::F), p: *const u8, part: usize) -> (S::F, S::F) {
        unsafe {
            let (mut scale, mut min) = header;
            if Self::SUPER {
                scale = S::mul(scale, S::load_i8(p.add(part * TILE)));
                min = S::mul(min, S::load_i8(p.add(Self::GROUP_BYTES + part * TILE)));
            }
            if !Self::MIN {
                min = S::mul(scale, S::splat(-f32::from(Self::Codes::ZERO)));
            }
            (scale, min)
        }
    }
}

pub(crate) struct Blocks<C, const SHARE: usize, const SUPER: bool, const MIN: bool>(PhantomData<C>);

impl<C: Codes, const SHARE: usize, const SUPER: bool, const MIN: bool> Coded
    for Blocks<C, SHARE, SUPER, MIN>
{
    type Codes = C;
    const SHARE: usize = SHARE;
    const SUPER: bool = SUPER;
    const MIN: bool = MIN;
}

/// What a tile becomes while many rows are multiplied by it, whatever its layout: per 32 of k the f32 scales and mins
/// of each `SHARE` values, then codes of a byte, beyond 127 where they are `FULL`.
pub(crate) struct Unpacked<const SHARE: usize, const FULL: bool>;

impl<const SHARE: usize, const FULL: bool> Coded for Unpacked<SHARE, FULL> {
    type Codes = Bytes<FULL>;
    const SHARE: usize = SHARE;
    const SUPER: bool = false;
    const MIN: bool = true;

    const HEADER_BYTES: usize = 0;
    const GROUPS_BYTES: usize = BLOCK / SHARE * 2 * 4 * TILE;

    #[inline(always)]
    unsafe fn header<S: Simd>(_: *const u8) -> (S::F, S::F) {
        unsafe { (S::splat(0.0), S::splat(0.0)) }
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(_: (S::F, S::F), p: *const u8, part: usize) -> (S::F, S::F) {
        unsafe {
            let scales = p.cast::<f32>().add(part * 2 * TILE);
            (S::load(scales), S::load(scales.add(TILE)))
        }
    }
}

/// A dense layout, as a type that kernels are compiled for.
pub(crate) trait Dense {
    /// Bytes of a value.
    const BYTES: usize;
    unsafe fn load<S: Simd>(p: *const u8) -> S::F;
    fn get(bytes: &[u8]) -> f32;
}

pub(crate) struct F32;
pub(crate) struct F16;
pub(crate) struct Bf16;

impl Dense for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        unsafe { S::load(p.cast()) }
    }
    fn get(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

impl Dense for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        unsafe { S::load_f16(p) }
    }
    fn get(bytes: &[u8]) -> f32 {
        half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
    }
}

impl Dense for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        unsafe { S::load_bf16(p) }
    }
    fn get(bytes: &[u8]) -> f32 {
        half::bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
    }
}

/// What is to be done with the type of a layout.
pub(crate) trait Visit {
    type Out;
    fn coded<L: Coded>(self) -> Self::Out;
    fn dense<L: Dense>(self) -> Self::Out;
}

macro_rules! layouts {
    ($($layout:ident = $name:literal $kind:ident::<$ty:ty>,)*) => {
        /// How a packed weight lies in memory.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Layout {
            $(#[doc = concat!("`", $name, "`")] $layout,)*
        }

        impl Layout {
            /// Every layout.
            pub const ALL: &'static [Layout] = &[$(Layout::$layout,)*];

            /// The name that stands in plans.
            pub fn name(self) -> &'static str {
                match self { $(Layout::$layout => $name,)* }
            }

            pub(crate) fn visit<V: Visit>(self, visit: V) -> V::Out {
                match self { $(Layout::$layout => visit.$kind::<$ty>(),)* }
            }
        }
    };
}

layouts! {
    F32 = "t16.f32" dense::<F32>,
    F16 = "t16.f16" dense::<F16>,
    Bf16 = "t16.bf16" dense::<Bf16>,
    Q4 = "t16.q4" coded::<Blocks<Bits<0>, 32, false, false>>,
    Q4Min = "t16.q4.min" coded::<Blocks<Bits<0>, 32, false, true>>,
    Q5 = "t16.q5" coded::<Blocks<Bits<1>, 32, false, false>>,
    Q5Min = "t16.q5.min" coded::<Blocks<Bits<1>, 32, false, true>>,
    Q8 = "t16.q8" coded::<Blocks<Bytes<true>, 32, false, false>>,
    Levels4 = "t16.levels4" coded::<Blocks<Levels, 32, false, false>>,
    Q4Super16 = "t16.q4.super16" coded::<Blocks<Bits<0>, 16, true, false>>,
    Q4Super16Min = "t16.q4.super16.min" coded::<Blocks<Bits<0>, 16, true, true>>,
    Q4Super32Min = "t16.q4.super32.min" coded::<Blocks<Bits<0>, 32, true, true>>,
    Q5Super32Min = "t16.q5.super32.min" coded::<Blocks<Bits<1>, 32, true, true>>,
    Q6Super16 = "t16.q6.super16" coded::<Blocks<Bits<2>, 16, true, false>>,
}

/// What a layout is, for whoever makes code from it: offsets in a tile, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Values of that dtype, the 16 rows' side by side.
    Dense(DType),
    /// Codes behind their scales.
    Coded(CodedShape),
}

/// A coded layout. A block is 32 values in k of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodedShape {
    /// How a block's codes lie.
    pub width: Width,
    /// Bytes of a block's codes.
    pub block_bytes: usize,
    /// How many values share a scale: 16 or 32.
    pub share: usize,
    /// The code of zero where there are no mins.
    pub zero: u8,
    /// Whether there are mins.
    pub has_min: bool,
    /// Values in k from one header to the next; where they are more than a block, each block has i8 that its scales are
    /// multiples by.
    pub span: usize,
    /// Bytes of a header, the scales' f16 before the mins'.
    pub header_bytes: usize,
    /// Bytes of a block's i8 scales, which as many of mins may follow; 0 where it has none.
    pub group_bytes: usize,
    /// Bytes of a span's header and all its i8.
    pub span_bytes: usize,
    /// Values in k whose scales stand together, before their codes: one or more spans.
    pub stretch: usize,
    /// Bytes of a stretch's scales.
    pub scales_bytes: usize,
}

impl CodedShape {
    /// Bytes of a stretch.
    pub fn stretch_bytes(&self) -> usize {
        self.scales_bytes + self.stretch / BLOCK * self.block_bytes
    }

    /// Bytes of a block's i8, scales and mins.
    pub fn groups_bytes(&self) -> usize {
        self.group_bytes * if self.has_min { 2 } else { 1 }
    }
}

impl Layout {
    /// What it is.
    pub fn shape(self) -> Shape {
        struct Describe(Layout);
        impl Visit for Describe {
            type Out = Shape;
            fn coded<L: Coded>(self) -> Shape {
                Shape::Coded(CodedShape {
                    width: L::Codes::WIDTH,
                    block_bytes: L::Codes::BYTES,
                    share: L::SHARE,
                    zero: L::Codes::ZERO,
                    has_min: L::MIN,
                    span: L::SPAN,
                    header_bytes: L::HEADER_BYTES,
                    group_bytes: L::GROUP_BYTES,
                    span_bytes: L::SPAN_BYTES,
                    stretch: L::STRETCH,
                    scales_bytes: L::SCALES_BYTES,
                })
            }
            fn dense<L: Dense>(self) -> Shape {
                Shape::Dense(match self.0 {
                    Layout::F16 => DType::F16,
                    Layout::Bf16 => DType::BF16,
                    _ => DType::F32,
                })
            }
        }
        self.visit(Describe(self))
    }

    /// The layout of this name, if there is one.
    pub fn parse(name: &str) -> Option<Layout> {
        Layout::ALL.iter().copied().find(|layout| layout.name() == name)
    }

    /// The layout that holds every value of a dtype exactly; none for dtypes that weights do not have.
    pub fn of(dtype: DType) -> Option<Layout> {
        Some(match dtype {
            DType::F32 => Layout::F32,
            DType::F16 => Layout::F16,
            DType::BF16 => Layout::Bf16,
            DType::Quant(format) => match format {
                Format::Q4_0 => Layout::Q4,
                Format::Q4_1 => Layout::Q4Min,
                Format::Q5_0 => Layout::Q5,
                Format::Q5_1 => Layout::Q5Min,
                Format::Q8_0 => Layout::Q8,
                Format::Q2K => Layout::Q4Super16Min,
                Format::Q3K => Layout::Q4Super16,
                Format::Q4K => Layout::Q4Super32Min,
                Format::Q5K => Layout::Q5Super32Min,
                Format::Q6K => Layout::Q6Super16,
                Format::Iq4Nl => Layout::Levels4,
                Format::Q8A => return None,
            },
            _ => return None,
        })
    }

    /// Whether products with int8 activations are possible.
    pub fn is_coded(self) -> bool {
        !matches!(self, Layout::F32 | Layout::F16 | Layout::Bf16)
    }

    /// How many values share a scale in a coded layout; 0 in a dense one.
    pub(crate) fn share(self) -> usize {
        struct Share;
        impl Visit for Share {
            type Out = usize;
            fn coded<L: Coded>(self) -> usize {
                L::SHARE
            }
            fn dense<L: Dense>(self) -> usize {
                0
            }
        }
        self.visit(Share)
    }

    /// Bytes of one tile of 16 rows.
    pub fn tile_bytes(self, cols: usize) -> usize {
        struct TileBytes(usize);
        impl Visit for TileBytes {
            type Out = usize;
            fn coded<L: Coded>(self) -> usize {
                L::tile_bytes(self.0)
            }
            fn dense<L: Dense>(self) -> usize {
                self.0 * TILE * L::BYTES
            }
        }
        self.visit(TileBytes(cols))
    }

    /// Bytes of one tile of 16 rows that was taken apart; 0 in a dense layout.
    pub(crate) fn unpacked_bytes(self, cols: usize) -> usize {
        match self.share() {
            0 => 0,
            share => cols / BLOCK * (BLOCK / share * 2 * 4 + BLOCK) * TILE,
        }
    }

    /// Bytes of a whole weight.
    pub fn packed_bytes(self, rows: usize, cols: usize) -> usize {
        rows.div_ceil(TILE) * self.tile_bytes(cols)
    }
}
