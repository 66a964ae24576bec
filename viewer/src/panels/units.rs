//! Numbers and texts as people read them.

/// `4.23 MB`; counted in thousands, as everywhere in Heddle.
pub(crate) fn bytes(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.2} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} MB", value / 1e6),
        _ => format!("{:.2} GB", value / 1e9),
    }
}

/// `3.2 µs`, `1.25 ms`, `2.04 s`.
pub(crate) fn time_us(us: f64) -> String {
    match us.abs() {
        size if size < 1e3 => format!("{us:.1} µs"),
        size if size < 1e6 => format!("{:.2} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

/// As many characters as fit, with `…` for the others.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    // Not counted to its end, which may be far.
    if text.char_indices().nth(most).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept + "…"
}
