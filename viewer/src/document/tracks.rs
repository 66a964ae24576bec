//! Stretches of time in a row, of which those in a part of it are found without looking at the others.
use std::ops::Deref;

/// Something that begins and ends.
pub trait Stretch {
    /// When it begins, in microseconds.
    fn begin_us(&self) -> f64;
    /// When it ends.
    fn end_us(&self) -> f64;
}

/// Stretches in the order in which they begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Track<T> {
    all: Vec<T>,
    /// By stretch when the last of those up to it ends.
    ends: Vec<f64>,
}

impl<T> Default for Track<T> {
    fn default() -> Track<T> {
        Track { all: vec![], ends: vec![] }
    }
}

impl<T: Stretch> Track<T> {
    /// Stretches in any order.
    pub fn new(mut all: Vec<T>) -> Track<T> {
        all.sort_by(|a, b| a.begin_us().total_cmp(&b.begin_us()));
        let mut last = f64::NEG_INFINITY;
        let ends = all.iter().map(|stretch| {
            last = last.max(stretch.end_us());
            last
        });
        let ends = ends.collect();
        Track { all, ends }
    }

    /// Those from the first that reaches into a part of time to the last that begins in it; of those between, some may
    /// have ended before.
    pub fn between(&self, from_us: f64, to_us: f64) -> &[T] {
        let first = self.ends.partition_point(|end| *end < from_us);
        let last = self.all.partition_point(|stretch| stretch.begin_us() <= to_us);
        self.all.get(first..last).unwrap_or_default()
    }

    /// The same as far as they can be told apart: of those that begin within `least_us` of one that is given, only the
    /// last.
    pub fn apart(&self, from_us: f64, to_us: f64, least_us: f64) -> impl Iterator<Item = &T> {
        let mut rest = self.between(from_us, to_us);
        std::iter::from_fn(move || {
            let (next, others) = rest.split_first()?;
            let after = others.partition_point(|other| other.begin_us() < next.begin_us() + least_us);
            rest = &others[after.saturating_sub(1)..];
            Some(next)
        })
    }

    /// From when to when there is something; none where there is nothing.
    pub fn extent_us(&self) -> Option<(f64, f64)> {
        Some((self.all.first()?.begin_us(), *self.ends.last()?))
    }
}

impl<T> Deref for Track<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Stretch for (f64, f64) {
        fn begin_us(&self) -> f64 {
            self.0
        }
        fn end_us(&self) -> f64 {
            self.1
        }
    }

    #[test]
    fn what_is_in_a_part_of_time_is_found_and_what_cannot_be_told_apart_is_left_out() {
        let track = Track::new(vec![(4.0, 5.0), (0.0, 3.5), (3.0, 4.0), (7.0, 9.0)]);
        assert_eq!(track.between(4.5, 6.0), [(4.0, 5.0)]);
        assert_eq!(track.between(3.2, 4.0), [(0.0, 3.5), (3.0, 4.0), (4.0, 5.0)]);
        assert_eq!((track.between(10.0, 11.0), track.between(-2.0, -1.0)), (&[][..], &[][..]));
        assert_eq!((track.extent_us(), Track::<(f64, f64)>::default().extent_us()), (Some((0.0, 9.0)), None));
        let many = Track::new((0..1_000_000).map(|n| (f64::from(n), f64::from(n) + 1.0)).collect());
        let seen: Vec<_> = many.apart(0.0, 1e6, 1_000.0).collect();
        assert!((900..2_010).contains(&seen.len()), "{}", seen.len());
        assert_eq!(many.apart(10.0, 20.0, 0.001).count(), 12);
        let long = Track::new(vec![(0.0, 0.1), (0.2, 0.3), (0.3, 90.0), (90.0, 91.0)]);
        assert!(long.apart(0.0, 100.0, 1.0).any(|stretch| *stretch == (0.3, 90.0)));
    }
}
