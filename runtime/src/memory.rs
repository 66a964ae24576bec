//! What memory this process really has, as the system counts it, to hold beside what the plan predicts.

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
