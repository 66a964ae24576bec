//! What kernels reach that were measured themselves, for arithmetic at its best says little of them.
use serde::{Deserialize, Serialize};

/// What a kernel reaches, by how many rows it works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Which: `t16.q4.min q8_a` is a product, by the layout of its weights and the type of its rows;
    /// `paged_attention f16 of 64` attention, by the type of its caches and the length of a head's vector (that of
    /// the nearest length counts; without one, of any); `kv_append f16 transposed` what writes them,
    /// whose operations are values; `bodies` everything else.
    pub kernel: String,
    /// In order of rows; of attention those that one sequence has in a step.
    pub at: Vec<RateAt>,
    /// What reading takes in the beginning, until as much is under way as can be, in nanoseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_ns: u64,
    /// Of attention: how many queries, of one token and head each, it begins and ends in a second beside its
    /// operations; 0 where that takes no time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub queries_per_second: u64,
}

/// What a kernel reaches with so many rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateAt {
    /// How many.
    pub rows: u32,
    /// Operations a second where what it reads lies near.
    pub operations_per_second: u64,
    /// What part of that time comes on top where what it reads comes from far, in percent: reading hides the
    /// rest.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub exposed_percent: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Rate {
    /// Nanoseconds that so many operations on `rows` rows take where what is read lies near, and what comes on top
    /// of reading where it does not. Between two numbers of rows, times are on a line.
    pub fn computing_ns(&self, rows: u64, operations: u64) -> (f64, f64) {
        // Nanoseconds for an operation of each of these rows.
        let times = |at: &RateAt| {
            let ns = f64::from(at.rows) * 1e9 / at.operations_per_second.max(1) as f64;
            [ns, ns * at.exposed_percent as f64 / 100.0]
        };
        let is_above = |at: &&RateAt| u64::from(at.rows) >= rows;
        let Some(above) = self.at.iter().find(is_above).or(self.at.last()) else { return (0.0, 0.0) };
        let below = self.at.iter().rev().find(|at| u64::from(at.rows) <= rows).unwrap_or(above);
        let each = match u64::from(above.rows).checked_sub(u64::from(below.rows)) {
            None | Some(0) => times(above).map(|ns| ns / f64::from(above.rows.max(1))),
            Some(whole) => {
                let part = rows.saturating_sub(u64::from(below.rows)) as f64 / whole as f64;
                let (low, high) = (times(below), times(above));
                [0, 1].map(|i| (low[i] + (high[i] - low[i]) * part) / rows.max(1) as f64)
            }
        };
        (each[0] * operations as f64, each[1] * operations as f64)
    }

    /// What lies between this and a slower one, number for number.
    pub(super) fn between(&self, slower: &Rate, between: impl Fn(u64, u64) -> u64) -> Rate {
        let at = |at: &RateAt| match slower.at.iter().find(|other| other.rows == at.rows) {
            None => *at,
            Some(other) => RateAt {
                rows: at.rows,
                operations_per_second: between(other.operations_per_second, at.operations_per_second),
                exposed_percent: between(other.exposed_percent, at.exposed_percent),
            },
        };
        Rate {
            kernel: self.kernel.clone(),
            at: self.at.iter().map(at).collect(),
            start_ns: between(slower.start_ns, self.start_ns),
            queries_per_second: between(slower.queries_per_second, self.queries_per_second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_between_two_numbers_of_rows_are_on_a_line() {
        let at = |rows, operations_per_second, exposed_percent| RateAt {
            rows,
            operations_per_second,
            exposed_percent,
        };
        let giga = 1_000_000_000;
        let rate = Rate {
            kernel: "k".into(),
            at: vec![at(1, giga, 0), at(4, 2 * giga, 50)],
            start_ns: 0,
            queries_per_second: 0,
        };
        // 100 operations for each row: 100 ns for one, 200 for four, of which 100 are not hidden.
        assert_eq!(rate.computing_ns(1, 100), (100.0, 0.0));
        assert_eq!(rate.computing_ns(4, 400), (200.0, 100.0));
        let (near, exposed) = rate.computing_ns(3, 300);
        assert!((near - (100.0 + 200.0 / 3.0)).abs() < 1e-6 && (exposed - 200.0 / 3.0).abs() < 1e-6);
        // Beyond what was measured each operation takes as long as at the end.
        assert_eq!(rate.computing_ns(8, 800), (400.0, 200.0));
        assert_eq!(rate.computing_ns(0, 0), (0.0, 0.0));
        assert_eq!(Rate { at: vec![], ..rate }.computing_ns(1, 100), (0.0, 0.0));
    }
}
