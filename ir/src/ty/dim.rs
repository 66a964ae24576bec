//! A dimension: a constant, a symbol, or a small affine expression of symbols (`n`, `2*n+1`).
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};

/// `constant + Σ coefficient · symbol`, with symbols in order of name and no zero coefficient,
/// so that equal dimensions are equal values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Dim {
    terms: BTreeMap<String, i64>,
    constant: i64,
}

impl Dim {
    /// A symbol by name: a letter or underscore, then letters, digits and underscores.
    pub fn symbol(name: &str) -> Dim {
        Dim { terms: BTreeMap::from([(name.to_owned(), 1)]), constant: 0 }
    }

    /// The value, if it is a constant.
    pub fn known(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// The constant part.
    pub fn constant(&self) -> i64 {
        self.constant
    }

    /// Symbols with their coefficients, in order of name.
    pub fn terms(&self) -> impl Iterator<Item = (&str, i64)> {
        self.terms.iter().map(|(s, c)| (s.as_str(), *c))
    }

    /// The value under `symbol`'s values; `None` if a symbol has none or the arithmetic overflows.
    pub fn eval(&self, symbol: impl Fn(&str) -> Option<i64>) -> Option<i64> {
        self.terms.iter().try_fold(self.constant, |sum, (s, c)| sum.checked_add(symbol(s)?.checked_mul(*c)?))
    }

    /// Whether every value of the symbols gives a multiple of `by`, as far as the form shows.
    pub fn is_multiple_of(&self, by: i64) -> bool {
        by != 0 && self.constant % by == 0 && self.terms.values().all(|c| c % by == 0)
    }

    /// `self / by` where that is exact in form.
    pub fn divided_by(&self, by: i64) -> Option<Dim> {
        self.is_multiple_of(by).then(|| Dim {
            terms: self.terms.iter().map(|(s, c)| (s.clone(), c / by)).collect(),
            constant: self.constant / by,
        })
    }

    /// The product, if one side is a constant.
    pub fn times(&self, other: &Dim) -> Option<Dim> {
        match (self.known(), other.known()) {
            (_, Some(c)) => Some(self.clone() * c),
            (Some(c), _) => Some(other.clone() * c),
            _ => None,
        }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Result<Dim, String> {
        let bad = || format!("not a dimension: {text:?}");
        let mut dim = Dim::default();
        let spread = text.replace('-', "+-");
        for part in spread.split('+').map(str::trim).filter(|p| !p.is_empty()) {
            let (sign, part) = match part.strip_prefix('-') {
                Some(rest) => (-1, rest.trim()),
                None => (1, part),
            };
            let (coefficient, rest) = match part.split_once('*') {
                Some((c, s)) => (c.trim().parse::<i64>().map_err(|_| bad())?, s.trim()),
                None => (1, part),
            };
            let one = match rest.parse::<i64>() {
                Ok(value) => Dim::from(value),
                Err(_) if is_symbol(rest) => Dim::symbol(rest),
                Err(_) => return Err(bad()),
            };
            dim = dim + one * (sign * coefficient);
        }
        if text.trim().is_empty() { Err(bad()) } else { Ok(dim) }
    }
}

fn is_symbol(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl From<i64> for Dim {
    fn from(constant: i64) -> Dim {
        Dim { terms: BTreeMap::new(), constant }
    }
}

impl Add for Dim {
    type Output = Dim;
    fn add(mut self, other: Dim) -> Dim {
        self.constant = self.constant.saturating_add(other.constant);
        for (s, c) in other.terms {
            let sum = self.terms.entry(s).or_insert(0);
            *sum = sum.saturating_add(c);
        }
        self.terms.retain(|_, c| *c != 0);
        self
    }
}

impl Mul<i64> for Dim {
    type Output = Dim;
    fn mul(mut self, by: i64) -> Dim {
        self.constant = self.constant.saturating_mul(by);
        self.terms.values_mut().for_each(|c| *c = c.saturating_mul(by));
        self.terms.retain(|_, c| *c != 0);
        self
    }
}

impl Sub for Dim {
    type Output = Dim;
    fn sub(self, other: Dim) -> Dim {
        self + other * -1
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (s, c) in &self.terms {
            let plus = if first || *c < 0 { "" } else { "+" };
            match c {
                1 => write!(f, "{plus}{s}")?,
                -1 => write!(f, "-{s}")?,
                c => write!(f, "{plus}{c}*{s}")?,
            }
            first = false;
        }
        match (first, self.constant) {
            (true, c) => write!(f, "{c}"),
            (false, 0) => Ok(()),
            (false, c) => write!(f, "{c:+}"),
        }
    }
}

impl Serialize for Dim {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Dim {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Dim, D::Error> {
        Dim::parse(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_are_inverse() {
        for text in ["0", "7", "-3", "n", "-n", "2*n+1", "n-1", "m+2*n-8"] {
            assert_eq!(Dim::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "2n", "n*m", "1.5", "n n", "9999999999999999999"] {
            assert!(Dim::parse(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn arithmetic_cancels() {
        let n = Dim::symbol("n");
        assert_eq!((n.clone() + Dim::from(1)) - n.clone(), Dim::from(1));
        assert_eq!((n * 4).divided_by(2).unwrap().to_string(), "2*n");
    }
}
