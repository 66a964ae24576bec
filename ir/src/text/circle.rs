//! Why a value is used above the line that makes it: the values need one another, or only stand in another order.
use super::read::{Line, Name};
use std::collections::{HashMap, HashSet};

/// More values of a circle are not named.
const NAMED_MOST: usize = 8;

/// A line that makes a value.
struct Definition {
    line: usize,
    needs: Vec<Name>,
}

/// What is wrong with a value that was used before it was made; none where no line makes it.
pub(super) fn explain(text: &str, used: &Name) -> Option<String> {
    let mut definitions: HashMap<Name, Definition> = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        if let Some((name, needs)) = definition(Line::new(line)) {
            definitions.entry(name).or_insert(Definition { line: at + 1, needs });
        }
    }
    let line = definitions.get(used)?.line;
    Some(match circle(&definitions, used) {
        Some(circle) => in_words(&circle),
        None => format!("{used} is made on line {line}: a value stands above those that use it"),
    })
}

/// The value that a line makes and its operands, however the line goes on.
fn definition(mut line: Line<'_>) -> Option<(Name, Vec<Name>)> {
    let name = line.name().ok()?;
    line.expect("=").ok()?;
    line.word();
    line.expect("(").ok()?;
    let mut needs = vec![];
    while let Ok(name) = line.name() {
        needs.push(name);
        if !line.eat(",") {
            break;
        }
    }
    Some((name, needs))
}

/// Values of which each needs the next, and the last the first: of what a value is made of, however far back.
fn circle<'a>(definitions: &'a HashMap<Name, Definition>, from: &'a Name) -> Option<Vec<&'a Name>> {
    // The way to where the search is, each value with how many of its operands were followed.
    let mut way: Vec<(&Name, usize)> = vec![(from, 0)];
    let mut place: HashMap<&Name, usize> = HashMap::from([(from, 0)]);
    let mut done: HashSet<&Name> = HashSet::new();
    while let Some((name, followed)) = way.last_mut() {
        let needs = definitions.get(*name).map_or(&[][..], |definition| &definition.needs);
        let Some(need) = needs.get(*followed) else {
            done.insert(name);
            place.remove(*name);
            way.pop();
            continue;
        };
        *followed += 1;
        if let Some(first) = place.get(need) {
            return Some(way[*first..].iter().map(|(name, _)| *name).collect());
        }
        if !done.contains(need) {
            place.insert(need, way.len());
            way.push((need, 0));
        }
    }
    None
}

fn in_words(circle: &[&Name]) -> String {
    let next = circle.iter().cycle().skip(1);
    let needs = circle.iter().zip(next).map(|(name, next)| format!("{name} needs {next}"));
    let named: Vec<String> = needs.take(NAMED_MOST).collect();
    let rest = match circle.len().saturating_sub(NAMED_MOST) {
        0 => String::new(),
        more => format!(", and so on over {more} more"),
    };
    format!("{} is computed from itself: {}{rest}", circle[0], named.join(", "))
}
