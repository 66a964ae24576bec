//! The colours of devices, in the window and on the page.

/// Okabe and Ito's colours, those first that differ most: told apart with any common colour vision.
pub(crate) const DEVICES: [[u8; 3]; 7] = [
    [0x00, 0x72, 0xb2],
    [0xe6, 0x9f, 0x00],
    [0x00, 0x9e, 0x73],
    [0xcc, 0x79, 0xa7],
    [0x56, 0xb4, 0xe9],
    [0xd5, 0x5e, 0x00],
    [0xf0, 0xe4, 0x42],
];

/// Whether black can be read on a colour, else white.
pub(crate) fn is_light([r, g, b]: [u8; 3]) -> bool {
    0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b) > 140.0
}
