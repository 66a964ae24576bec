//! The way that messages between two devices take: over a link, or over links from switch to switch.
use super::{Link, Topology};
use std::cmp::Reverse;

/// A way from one device to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The links on it, in order, as indices of the topology's.
    pub links: Vec<usize>,
    /// What the shortest message takes, in nanoseconds: on all of them together.
    pub latency_ns: u64,
    /// What long messages come to, in bytes a second: as on the slowest of them, for a switch passes on what has
    /// arrived of a message.
    pub bytes_per_second: u64,
    /// What it takes beside to wake a reader that sleeps, in nanoseconds: as on the last of them.
    pub wake_ns: u64,
}

impl Route {
    /// Nanoseconds from sending a message of so many bytes until it can be used by a reader that is awake.
    pub fn message_ns(&self, bytes: u64) -> f64 {
        self.latency_ns as f64 + bytes as f64 * 1e9 / self.bytes_per_second.max(1) as f64
    }
}

impl Topology {
    /// The way from one device to another: of all ways over links and switches that on which long messages are
    /// fastest, among those of equal speed that of the least latency. Devices pass nothing on. From a device to
    /// itself only its own link leads. None where no way does.
    pub fn route(&self, from: &str, to: &str) -> Option<Route> {
        if from == to {
            let own = self.links.iter().position(|link| link.from == from && link.to == to)?;
            return Some(self.along(&[own]));
        }
        let mut speeds: Vec<u64> = self.links.iter().map(|link| link.bytes_per_second).collect();
        speeds.sort_by_key(|speed| Reverse(*speed));
        speeds.dedup();
        speeds.into_iter().find_map(|speed| self.quickest(from, to, speed))
    }

    /// The way of the least latency over links of at least that speed.
    fn quickest(&self, from: &str, to: &str, speed: u64) -> Option<Route> {
        // What was reached, and how; the quickest of it cannot be reached quicker, and goes on.
        let mut reached: Vec<(&str, Route, bool)> = vec![(from, self.along(&[]), false)];
        loop {
            let open = reached.iter_mut().filter(|(.., is_final)| !is_final);
            let (end, route, is_final) = open.min_by_key(|(_, route, _)| route.latency_ns)?;
            *is_final = true;
            let (end, route) = (*end, route.clone());
            if end == to {
                return Some(route);
            }
            if end != from && !self.switches.iter().any(|switch| switch == end) {
                continue;
            }
            for (index, link) in self.links.iter().enumerate() {
                let Some(other) = link.other_end(end).filter(|_| link.bytes_per_second >= speed) else {
                    continue;
                };
                let longer = self.along(&[&route.links[..], &[index]].concat());
                match reached.iter_mut().find(|(name, ..)| *name == other) {
                    None => reached.push((other, longer, false)),
                    Some((_, known, false)) if longer.latency_ns < known.latency_ns => *known = longer,
                    Some(_) => {}
                }
            }
        }
    }

    /// Pairs of devices, of those given, that no way joins.
    pub fn unreachable<'a>(
        &self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Vec<(&'a str, &'a str)> {
        pairs.into_iter().filter(|(from, to)| self.route(from, to).is_none()).collect()
    }

    fn along(&self, links: &[usize]) -> Route {
        let all = || links.iter().map(|index| &self.links[*index]);
        Route {
            links: links.to_vec(),
            latency_ns: all().fold(0, |sum, link| sum.saturating_add(link.latency_ns)),
            bytes_per_second: all().map(|link| link.bytes_per_second).min().unwrap_or(u64::MAX),
            wake_ns: all().next_back().map_or(0, |link| link.wake_ns),
        }
    }
}

impl Link {
    /// Where it leads from `end`; nowhere where that is not one of its ends, or both.
    fn other_end(&self, end: &str) -> Option<&str> {
        match (self.from == end, self.to == end) {
            (true, false) => Some(&self.to),
            (false, true) => Some(&self.from),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    /// Devices `a`, `b`, `c`, `d`, and switches `s`, `t`, with links of some latency and speed.
    fn joined(links: &[(&str, &str, u64, u64)]) -> Topology {
        let mut topology = sample();
        let device = topology.devices.remove(0);
        topology.devices = ["a", "b", "c", "d"]
            .map(|name| super::super::Device { name: name.into(), ..device.clone() })
            .into();
        topology.switches = vec!["s".into(), "t".into()];
        let link = |&(from, to, latency_ns, bytes_per_second): &(&str, &str, u64, u64)| Link {
            from: from.into(),
            to: to.into(),
            latency_ns,
            bytes_per_second,
            wake_ns: 0,
        };
        topology.links = links.iter().map(link).collect();
        topology
    }

    #[test]
    fn a_way_leads_over_switches_both_ways_and_never_over_devices() {
        let topology = joined(&[
            ("a", "b", 1, 100),
            ("b", "s", 10, 20),
            ("t", "s", 100, 5),
            ("c", "t", 10, 20),
            ("c", "d", 1, 9),
        ]);
        let route = topology.route("b", "c").unwrap();
        assert_eq!((&route.links[..], route.latency_ns, route.bytes_per_second), (&[1, 2, 3][..], 120, 5));
        assert_eq!(topology.route("c", "b").unwrap().links, [3, 2, 1]);
        assert_eq!(route.message_ns(10), 120.0 + 2e9);
        assert_eq!(topology.route("a", "s").map(|r| r.links), None, "over b, which is a device");
        assert_eq!(topology.route("a", "c"), None);
        assert_eq!(topology.route("a", "a"), None, "it has no link of its own");
        assert_eq!(topology.unreachable([("a", "b"), ("a", "d"), ("d", "c")]), [("a", "d")]);
    }

    #[test]
    fn the_fastest_way_is_taken_and_of_equal_ones_the_shortest() {
        let topology = joined(&[
            ("a", "b", 1, 10),
            ("a", "s", 1, 50),
            ("s", "b", 1, 50),
            ("s", "t", 5, 50),
            ("t", "b", 0, 90),
            ("a", "a", 3, 7),
            ("c", "t", 1, 50),
            ("b", "c", 0, 40),
        ]);
        assert_eq!(topology.route("a", "b").unwrap().links, [1, 2]);
        assert_eq!(topology.route("a", "a").unwrap().links, [5]);
        // A fast way to t does not help where what follows is slower: s is nearer.
        assert_eq!(topology.route("b", "c").unwrap().links, [4, 6]);
    }
}
