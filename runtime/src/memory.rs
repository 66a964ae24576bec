//! What memory this process and its devices really have, as the system counts it, to hold beside what the plan
//! predicts.
use ir::plan::DeviceId;

/// Resident memory of this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Now.
    pub now_bytes: u64,
    /// At its highest since the process started or [`reset_peak`] was called.
    pub peak_bytes: u64,
    /// Of `now_bytes`: arenas, heap and stacks.
    pub anonymous_bytes: u64,
    /// Of `now_bytes`: mapped files, which the system may take back, weights among them.
    pub file_bytes: u64,
}

/// Memory of one device of a session: packed weights, caches, arena, scratch, slots of edges. Those lie in the host's
/// memory for an accelerator, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The device.
    pub device: DeviceId,
    /// Bytes that it took when the session started.
    pub bytes: u64,
    /// Of these, what lies in memory now, by the system's own count of pages; `None` where it does not say, as of the
    /// memory of an accelerator.
    pub resident_bytes: Option<u64>,
}

/// A stretch of addresses that somebody took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: usize,
    bytes: usize,
}

impl Span {
    pub(crate) fn of(bytes: &[u8]) -> Span {
        Span { start: bytes.as_ptr().addr(), bytes: bytes.len() }
    }

    pub(crate) fn at(start: *const u8, bytes: usize) -> Span {
        Span { start: start.addr(), bytes }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Bytes of it on pages that are in memory; `None` where the system does not say, or has taken it back.
    #[cfg(target_os = "linux")]
    fn resident_bytes(&self) -> Option<u64> {
        const PAGES: usize = 1 << 14;
        if self.bytes == 0 {
            return Some(0);
        }
        // SAFETY: a question about a constant of the system.
        let page =
            usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok().filter(|page| *page > 0)?;
        let (end, mut at) = (self.start.checked_add(self.bytes)?, self.start / page * page);
        let (mut is_there, mut resident) = (vec![0; PAGES], 0);
        while at < end {
            let pages = (end - at).div_ceil(page).min(PAGES);
            // SAFETY: it answers for each page in as many bytes as there are, and reads nothing at the addresses.
            let said = unsafe {
                libc::mincore(std::ptr::without_provenance_mut(at), pages * page, is_there.as_mut_ptr())
            };
            if said != 0 {
                return None;
            }
            for page_at in (0..pages).filter(|p| is_there[*p] & 1 == 1).map(|p| at + p * page) {
                resident += end.min(page_at + page) - self.start.max(page_at);
            }
            at += pages * page;
        }
        Some(resident as u64)
    }

    #[cfg(not(target_os = "linux"))]
    fn resident_bytes(&self) -> Option<u64> {
        None
    }
}

/// What was taken for a device.
#[derive(Debug)]
pub(crate) enum Taken {
    /// In the host's memory.
    Here(Vec<Span>),
    /// So many bytes of a memory of the device's own.
    There(u64),
}

impl Held {
    pub(crate) fn by(device: DeviceId, taken: &[Taken]) -> Held {
        let bytes = |taken: &Taken| match taken {
            Taken::Here(spans) => spans.iter().map(Span::bytes).sum(),
            Taken::There(bytes) => *bytes,
        };
        let resident_bytes = |taken: &Taken| -> Option<u64> {
            match taken {
                Taken::Here(spans) => spans.iter().map(Span::resident_bytes).sum(),
                Taken::There(_) => None,
            }
        };
        Held {
            device,
            bytes: taken.iter().map(bytes).fold(0, u64::saturating_add),
            resident_bytes: taken.iter().map(resident_bytes).sum(),
        }
    }
}

/// Reads the system's count; `None` where it keeps none that we can read.
pub fn resident() -> Option<Resident> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Makes the present the peak from here on; false where the system does not allow it.
pub fn reset_peak() -> bool {
    // 5 is the request for this one count among those that the file can clear.
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Gives memory that was freed back to the system, which otherwise still counts it as resident.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the allocator's own entry point; it takes its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn parse(status: &str) -> Option<Resident> {
    let bytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Resident {
        now_bytes: bytes("VmRSS")?,
        peak_bytes: bytes("VmHWM")?,
        anonymous_bytes: bytes("RssAnon")?,
        file_bytes: bytes("RssFile")?,
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_four_counts_are_read() {
        let status =
            "Name:\theddle\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\nRssAnon:\t 1000 kB\nRssFile:\t24 kB\n";
        let expected = Resident {
            now_bytes: 1 << 20,
            peak_bytes: 2 << 20,
            anonymous_bytes: 1_024_000,
            file_bytes: 24_576,
        };
        assert_eq!(parse(status), Some(expected));
        assert_eq!(parse("VmRSS: many kB"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn pages_that_nobody_touched_are_not_resident() {
        let mut arena = crate::Arena::new(1 << 20).unwrap();
        let inner = |arena: &crate::Arena| {
            let (start, bytes) = (arena.at(100, 300_000).unwrap(), 300_000);
            Span::at(start, bytes).resident_bytes()
        };
        assert_eq!(inner(&arena), Some(0));
        arena.prefault().unwrap();
        assert_eq!(inner(&arena), Some(300_000));
        let span = Span::at(arena.start(), arena.bytes());
        drop(arena);
        assert_eq!(span.resident_bytes(), None);
        assert_eq!(Span::of(&[]).resident_bytes(), Some(0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_prefaulted_arena_is_resident() {
        const BYTES: u64 = 64 << 20;
        let before = resident().unwrap();
        let mut arena = crate::Arena::new(BYTES as usize).unwrap();
        arena.prefault().unwrap();
        let after = resident().unwrap();
        let grown = after.anonymous_bytes - before.anonymous_bytes;
        assert!(grown.abs_diff(BYTES) < BYTES / 50, "found {grown} bytes more, expected {BYTES}");
        assert!(after.peak_bytes >= after.now_bytes);
        drop(arena);
        assert!(!reset_peak() || resident().unwrap().peak_bytes < after.peak_bytes);
    }
}
