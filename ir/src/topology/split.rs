//! One device as several, each with some of its threads: what a plan over the cores of one processor runs on.
use super::{Device, Link, Read, Team, Topology};

impl Topology {
    /// This topology with the device `name` in parts, each with a name and so many threads, in its place. All
    /// parts read at the same time, so each has its share of what all their threads read together; arithmetic and
    /// kernels are a core's own. The device's link to itself joins each two of them, and each to itself; other
    /// links of the device are there for each. None where there is no such device, or where it was measured with
    /// fewer threads than the parts have.
    pub fn split(&self, name: &str, parts: &[(&str, u32)]) -> Option<Topology> {
        let at = self.devices.iter().position(|device| device.name == name)?;
        let whole = &self.devices[at];
        let threads = parts.iter().fold(0u32, |sum, part| sum.saturating_add(part.1));
        if parts.is_empty() || threads > whole.threads || parts.iter().any(|part| part.1 == 0) {
            return None;
        }
        let together = whole.team(threads)?;
        let device = |&(name, own): &(&str, u32)| {
            let teams = (1..=own).filter_map(|n| Some(share(whole.team(n)?, &together, threads)));
            let memory_bytes = whole.memory_bytes / u64::from(threads) * u64::from(own);
            Device { name: name.into(), threads: own, memory_bytes, teams: teams.collect(), ..whole.clone() }
        };
        let mut split = self.clone();
        split.devices.splice(at..=at, parts.iter().map(device));
        split.links.clear();
        for link in &self.links {
            let ends = |end: &String| match end == name {
                true => parts.iter().map(|part| part.0.to_owned()).collect(),
                false => vec![end.clone()],
            };
            for (index, from) in ends(&link.from).into_iter().enumerate() {
                // Of two parts one link is enough, for it goes both ways.
                let skip = if link.from == name && link.to == name { index } else { 0 };
                let to = ends(&link.to).into_iter().skip(skip);
                split.links.extend(to.map(|to| Link { from: from.clone(), to, ..link.clone() }));
            }
        }
        Some(split)
    }
}

/// What a team reads while others of the same device read too, `together` in all.
fn share(alone: Team, together: &Team, threads: u32) -> Team {
    let part =
        |bytes: u64| u64::try_from(u128::from(bytes) * u128::from(alone.threads) / u128::from(threads));
    let all = |bytes: u64| bytes.saturating_mul(u64::from(threads)) / u64::from(alone.threads);
    let read = |&Read { bytes, bytes_per_second }: &Read| {
        let shared = together.read_rate(all(bytes)).and_then(|rate| part(rate).ok());
        let bytes_per_second = shared.unwrap_or(bytes_per_second).min(bytes_per_second).max(1);
        Read { bytes, bytes_per_second }
    };
    Team { reads: alone.reads.iter().map(read).collect(), ..alone.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::sample;

    #[test]
    fn parts_share_what_is_read_and_keep_what_cores_do() {
        let mut topology = sample();
        // Four threads read from memory no more than one and a half.
        topology.devices[0].teams[2].reads[1].bytes_per_second = 30_000_000_000;
        topology.links.push(super::Link { to: "bus".into(), ..topology.links[0].clone() });
        let split = topology.split("cpu:0", &[("cpu:0", 1), ("cpu:1", 3)]).unwrap();
        assert_eq!(split.verify(), []);
        let [one, three] = &split.devices[..] else { panic!("{split:?}") };
        assert_eq!((one.threads, three.threads, three.teams.len()), (1, 3, 3));
        assert_eq!(one.teams[0].operations, topology.devices[0].teams[0].operations);
        // A quarter of what four read of four times as much; near a core nobody disturbs.
        assert_eq!(one.teams[0].read_rate(1 << 30), Some(7_500_000_000));
        assert_eq!(three.teams[2].read_rate(1 << 30), Some(22_500_000_000));
        assert_eq!(one.teams[0].operations.f32 * 3, three.teams[2].operations.f32);
        assert_eq!(one.memory_bytes + three.memory_bytes, topology.devices[0].memory_bytes);
        let ends: Vec<_> = split.links.iter().map(|link| (&*link.from, &*link.to)).collect();
        let (a, b) = ("cpu:0", "cpu:1");
        assert_eq!(ends, [(a, a), (a, b), (b, b), (a, "bus"), (b, "bus")]);
        let refused = [&[("a", 3), ("b", 2)][..], &[], &[("a", 0)]];
        assert!(refused.iter().all(|parts| topology.split("cpu:0", parts).is_none()));
        assert!(topology.split("gpu:0", &[("a", 1)]).is_none());
    }
}
