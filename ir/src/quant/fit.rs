//! Choosing the scales and codes of a block: what the formats' `quantise` share.
use half::f16;

/// The value of largest magnitude, with its sign.
pub(super) fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |far: f32, &v| if v.abs() > far.abs() { v } else { far })
}

/// The smallest and the largest value; NaN only if there is nothing else.
pub(super) fn range(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::NAN, f32::NAN), |(low, high), &v| (low.min(v), high.max(v)))
}

/// The nearest f16 that is no closer to zero; saturates, and takes NaN for zero.
pub(super) fn cover(x: f32) -> f16 {
    if x.is_nan() {
        return f16::ZERO;
    }
    let nearest = f16::from_f32(x);
    let short = nearest.to_f32().abs() < x.abs();
    let away = if short { f16::from_bits(nearest.to_bits() + 1) } else { nearest };
    away.clamp(f16::MIN, f16::MAX)
}

/// The code from `low` to `high` nearest to `x`. A NaN, as from a block of zeros with scale zero, becomes 0.
pub(super) fn code(x: f32, low: i8, high: i8) -> i8 {
    x.round().clamp(f32::from(low), f32::from(high)) as i8
}

/// The scale and the offset with which codes `0..=code_max` cover the values: `value = scale * code + offset`.
pub(super) fn offset(values: &[f32], code_max: u8) -> (f16, f16) {
    let (low, high) = range(values);
    // Away from zero is upwards for a positive offset, so that one is rounded towards zero instead.
    let offset = if low > 0.0 { floor(low) } else { cover(low) };
    (cover((high - offset.to_f32()) / f32::from(code_max)), offset)
}

/// The nearest f16 not above a positive `x`.
fn floor(x: f32) -> f16 {
    let above = cover(x);
    if above.to_f32() > x { f16::from_bits(above.to_bits() - 1) } else { above }
}

/// Scales and mins of a block's groups, themselves quantised: `value = d * scale * code - dmin * min`.
pub(super) struct Affine<const GROUPS: usize> {
    pub(super) d: f16,
    pub(super) dmin: f16,
    pub(super) scales: [u8; GROUPS],
    pub(super) mins: [u8; GROUPS],
}

impl<const GROUPS: usize> Affine<GROUPS> {
    /// The code from 0 to `code_max` nearest to `value` in group `g`.
    pub(super) fn code(&self, g: usize, value: f32, code_max: i8) -> u8 {
        let scale = self.d.to_f32() * f32::from(self.scales[g]);
        let min = self.dmin.to_f32() * f32::from(self.mins[g]);
        code((value + min) / scale, 0, code_max) as u8
    }
}

/// Covers every group by codes `0..=code_max`, with scales and mins of at most `scale_max`.
pub(super) fn affine<const GROUPS: usize>(values: &[f32], code_max: u8, scale_max: u8) -> Affine<GROUPS> {
    let groups = || values.chunks_exact(values.len() / GROUPS).map(range);
    let (dmin, mins) = round_up(groups().map(|(low, _)| (-low).max(0.0)), scale_max);
    let reach = |(high, min): (f32, u8)| high + dmin.to_f32() * f32::from(min);
    let highs = groups().map(|(_, high)| high.max(0.0));
    let (d, scales) = round_up(highs.zip(mins).map(|group| reach(group) / f32::from(code_max)), scale_max);
    Affine { d, dmin, scales, mins }
}

/// A unit, and for each of the `wanted` the fewest units, up to `most`, that reach it.
fn round_up<const N: usize>(wanted: impl Iterator<Item = f32> + Clone, most: u8) -> (f16, [u8; N]) {
    let unit = cover(wanted.clone().fold(0.0, f32::max) / f32::from(most));
    let mut units = [0; N];
    for (units, wanted) in units.iter_mut().zip(wanted) {
        *units = ((wanted / unit.to_f32()).ceil() as u8).min(most);
    }
    (unit, units)
}

/// Steps of a block's groups, themselves quantised, with signs: `value = d * step * code`.
///
/// The value of largest magnitude gets the code `code_min`, which has no positive partner; hence the signs.
/// A step is at most `step_max` units in magnitude.
pub(super) fn symmetric<const GROUPS: usize>(
    values: &[f32],
    code_min: i8,
    step_max: i8,
) -> (f16, [i8; GROUPS]) {
    let wanted = values.chunks_exact(values.len() / GROUPS).map(|group| extreme(group) / f32::from(code_min));
    let d = cover(wanted.clone().fold(0.0, |most: f32, step| most.max(step.abs())) / f32::from(step_max));
    let mut steps = [0; GROUPS];
    for (step, wanted) in steps.iter_mut().zip(wanted) {
        let units = wanted / d.to_f32();
        *step = code(units.abs().ceil().copysign(units), -step_max, step_max);
    }
    (d, steps)
}
