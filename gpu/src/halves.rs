//! Half floats by their bits: no target need have them, and every one gives the same.
use crate::emit::{Compare, Emit, Two, Ty, Val};

#[expect(clippy::wrong_self_convention, reason = "what is converted is a value; self emits it")]
impl Emit {
    /// The bits of a u32 that a constant has, too.
    pub(crate) fn mask(&mut self, a: Val, mask: u32) -> Val {
        let mask = self.u32(mask);
        self.two(Two::And, a, mask)
    }

    pub(crate) fn shl(&mut self, a: Val, by: u32) -> Val {
        let by = self.u32(by);
        self.two(Two::Shl, a, by)
    }

    pub(crate) fn shr(&mut self, a: Val, by: u32) -> Val {
        let by = self.u32(by);
        self.two(Two::Shr, a, by)
    }

    /// Bits of a word as an f32, exactly: the number below `mask`, of 8 bits at most, that begins at bit `shift`. They
    /// become low bits of 2²³, which is then taken away: no conversion, and often no shift.
    pub(crate) fn field(&mut self, word: Val, shift: u32, mask: u32) -> Val {
        const BITS: u32 = 23;
        let reaches = shift + u32::BITS - mask.leading_zeros();
        let (word, shift) = if reaches > BITS { (self.shr(word, shift), 0) } else { (word, shift) };
        let field = self.mask(word, mask << shift);
        let base = self.u32(((1 << BITS) as f32).to_bits());
        let real = self.two(Two::Or, field, base);
        let real = self.reinterpret(real, Ty::F32);
        let least = 1.0 / (1 << shift) as f32;
        let (by, less) = (self.f32(least), self.f32(-least * (1 << BITS) as f32));
        self.fma(real, by, less)
    }

    /// The value of a bf16 whose bits are the low 16 of a u32.
    pub(crate) fn from_bf16(&mut self, bits: Val) -> Val {
        let bits = self.shl(bits, 16);
        self.reinterpret(bits, Ty::F32)
    }

    /// The value of an f16 whose bits are the low 16 of a u32.
    pub(crate) fn from_f16(&mut self, bits: Val) -> Val {
        let magnitude = self.mask(bits, 0x7fff);
        let wide = self.shl(magnitude, 13);
        // Exponents begin 112 lower in an f16; those of infinity and NaN end 112 lower once more.
        let (bias, least, most) = (self.u32(112 << 23), self.u32(1 << 10), self.u32(0x7c00));
        let normal = self.two(Two::Add, wide, bias);
        let special = self.two(Two::Add, normal, bias);
        let is_finite = self.compare(Compare::Lt, magnitude, most);
        let large = self.select(is_finite, normal, special);
        // One that is subnormal is what it adds to the least number of the exponent above: no target makes it zero.
        let one = self.u32(113 << 23);
        let above = self.two(Two::Add, wide, one);
        let (above, one) = (self.reinterpret(above, Ty::F32), self.reinterpret(one, Ty::F32));
        let small = self.two(Two::Sub, above, one);
        let small = self.reinterpret(small, Ty::U32);
        let is_small = self.compare(Compare::Lt, magnitude, least);
        let value = self.select(is_small, small, large);
        let sign = self.mask(bits, 0x8000);
        let sign = self.shl(sign, 16);
        let value = self.two(Two::Or, value, sign);
        self.reinterpret(value, Ty::F32)
    }

    /// The bits of the nearest bf16, ties to even, as a u32.
    pub(crate) fn to_bf16(&mut self, value: Val) -> Val {
        let bits = self.reinterpret(value, Ty::U32);
        let odd = self.shr(bits, 16);
        let odd = self.mask(odd, 1);
        let half = self.u32(0x7fff);
        let half = self.two(Two::Add, half, odd);
        let rounded = self.two(Two::Add, bits, half);
        let rounded = self.shr(rounded, 16);
        let nan = self.shr(bits, 16);
        let quiet = self.u32(0x40);
        let nan = self.two(Two::Or, nan, quiet);
        let is_number = self.is_number(bits);
        self.select(is_number, rounded, nan)
    }

    /// Whether f32 bits are no NaN: compared as integers, for targets may take it that there are none.
    pub(crate) fn is_number(&mut self, bits: Val) -> Val {
        let magnitude = self.mask(bits, 0x7fff_ffff);
        let infinity = self.u32(0x7f80_0000);
        self.compare(Compare::Le, magnitude, infinity)
    }

    /// The bits of the nearest f16, ties to even, as a u32.
    pub(crate) fn to_f16(&mut self, value: Val) -> Val {
        let bits = self.reinterpret(value, Ty::U32);
        let magnitude = self.mask(bits, 0x7fff_ffff);
        // Normal: round at bit 13, and take 112 off the exponent.
        let odd = self.shr(magnitude, 13);
        let odd = self.mask(odd, 1);
        let half = self.u32(0xfff);
        let half = self.two(Two::Add, half, odd);
        let normal = self.two(Two::Add, magnitude, half);
        let bias = self.u32(112 << 23);
        let normal = self.two(Two::Sub, normal, bias);
        let normal = self.shr(normal, 13);
        // Subnormal: beside a half, neighbours lie as far apart as subnormals of f16 do.
        let a_half = self.f32(0.5);
        let real = self.reinterpret(magnitude, Ty::F32);
        let small = self.two(Two::Add, real, a_half);
        let (small, base) = (self.reinterpret(small, Ty::U32), self.u32(0.5f32.to_bits()));
        let small = self.two(Two::Sub, small, base);
        let (least, overflow) = (self.u32(113 << 23), self.u32(0x477f_f000));
        let is_small = self.compare(Compare::Lt, magnitude, least);
        let finite = self.select(is_small, small, normal);
        let infinity = self.u32(0x7c00);
        let is_finite = self.compare(Compare::Lt, magnitude, overflow);
        let result = self.select(is_finite, finite, infinity);
        let is_number = self.is_number(bits);
        let nan = self.u32(0x7e00);
        let result = self.select(is_number, result, nan);
        let sign = self.shr(bits, 16);
        let sign = self.mask(sign, 0x8000);
        self.two(Two::Or, result, sign)
    }
}
