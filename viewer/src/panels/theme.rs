//! Fonts and colours: those of devices for eyes of every kind, a ramp for heat, light and dark.
use crate::colours::{DEVICES, is_light};
use eframe::egui::{self, Color32, FontData, FontDefinitions, FontFamily, Stroke, Theme};
use std::sync::Arc;

/// Chinese, Japanese kana and what goes with them, for names of models and tensors. See `viewer/fonts/README.md`.
const CJK: &[u8] = include_bytes!("../../fonts/DroidSansFallback-GB2312.ttf");

/// From little to much, evenly in lightness: dark blue, grey, yellow.
const HEAT: [[f32; 3]; 5] = [
    [0.0, 34.0, 78.0],
    [64.0, 77.0, 107.0],
    [125.0, 124.0, 120.0],
    [188.0, 175.0, 111.0],
    [254.0, 232.0, 56.0],
];

/// What is put over a device's colour, so that more devices than colours, and those printed in grey, differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Nothing.
    Plain,
    /// Lines that rise.
    Rising,
    /// Lines that lie.
    Level,
    /// Lines that fall.
    Falling,
}

/// Colours of the canvas, by whether it is dark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    pub(crate) is_dark: bool,
    pub(crate) canvas: Color32,
    /// Groups that are open, by depth: even, odd.
    pub(crate) frames: [Color32; 2],
    pub(crate) node: Color32,
    pub(crate) outline: Color32,
    pub(crate) line: Color32,
    pub(crate) text: Color32,
    pub(crate) weak: Color32,
    pub(crate) accent: Color32,
    pub(crate) added: Color32,
    pub(crate) changed: Color32,
    pub(crate) removed: Color32,
}

/// Sets fonts and both styles; before the first frame, for glyphs.
pub fn dress(context: &egui::Context) {
    let mut fonts = FontDefinitions::default();
    fonts.font_data.insert("cjk".to_owned(), Arc::new(FontData::from_static(CJK)));
    for family in [FontFamily::Proportional, FontFamily::Monospace] {
        fonts.families.entry(family).or_default().push("cjk".to_owned());
    }
    context.set_fonts(fonts);
    for theme in [Theme::Dark, Theme::Light] {
        let palette = Palette::of(theme == Theme::Dark);
        context.style_mut_of(theme, |style| {
            style.spacing.item_spacing = egui::vec2(6.0, 5.0);
            style.visuals.selection.bg_fill = palette.accent.gamma_multiply(0.45);
            style.visuals.selection.stroke = Stroke::new(1.0, palette.text);
            style.visuals.widgets.noninteractive.fg_stroke.color = palette.text;
            style.visuals.hyperlink_color = palette.accent;
            style.visuals.panel_fill = palette.frames[0];
            style.visuals.slider_trailing_fill = true;
        });
    }
}

impl Palette {
    pub(crate) fn of(is_dark: bool) -> Palette {
        let grey = Color32::from_gray;
        if is_dark {
            Palette {
                is_dark,
                canvas: Color32::from_rgb(0x15, 0x17, 0x1b),
                frames: [Color32::from_rgb(0x1e, 0x21, 0x27), Color32::from_rgb(0x26, 0x2a, 0x31)],
                node: Color32::from_rgb(0x2f, 0x34, 0x3d),
                outline: Color32::from_rgb(0x5a, 0x62, 0x70),
                line: Color32::from_rgb(0x8a, 0x93, 0xa3),
                text: grey(0xec),
                weak: Color32::from_rgb(0xa6, 0xae, 0xbb),
                accent: Color32::from_rgb(0x56, 0xb4, 0xe9),
                added: Color32::from_rgb(0x2c, 0xc4, 0x97),
                changed: Color32::from_rgb(0xf0, 0xb4, 0x2e),
                removed: Color32::from_rgb(0xf0, 0x7f, 0x3c),
            }
        } else {
            Palette {
                is_dark,
                canvas: Color32::from_rgb(0xf3, 0xf4, 0xf6),
                frames: [grey(0xfc), Color32::from_rgb(0xee, 0xf0, 0xf4)],
                node: grey(0xff),
                outline: Color32::from_rgb(0x9a, 0xa2, 0xae),
                line: Color32::from_rgb(0x6d, 0x76, 0x85),
                text: grey(0x18),
                weak: Color32::from_rgb(0x55, 0x5c, 0x68),
                accent: Color32::from_rgb(0x00, 0x72, 0xb2),
                added: Color32::from_rgb(0x00, 0x7d, 0x5a),
                changed: Color32::from_rgb(0xa8, 0x6c, 0x00),
                removed: Color32::from_rgb(0xc0, 0x4a, 0x00),
            }
        }
    }

    pub(crate) fn of_ui(ui: &egui::Ui) -> Palette {
        Palette::of(ui.visuals().dark_mode)
    }

    /// A colour thinned by the one behind it: 1 is all of it.
    pub(crate) fn tinted(&self, colour: Color32, part: f32) -> Color32 {
        self.node.lerp_to_gamma(colour, part)
    }
}

/// The colour of a device.
pub(crate) fn device(number: u32) -> Color32 {
    let [r, g, b] = DEVICES[number as usize % DEVICES.len()];
    Color32::from_rgb(r, g, b)
}

/// The pattern of a device.
pub(crate) fn pattern(number: u32) -> Pattern {
    // Twice the round: seven colours on, the pattern would otherwise be the same again.
    match (number as usize + 2 * (number as usize / DEVICES.len())) % 4 {
        0 => Pattern::Plain,
        1 => Pattern::Rising,
        2 => Pattern::Level,
        _ => Pattern::Falling,
    }
}

/// The letters of a device: A to Z, then AA and on.
pub(crate) fn letters(number: u32) -> String {
    let (mut rest, mut letters) = (number, vec![]);
    loop {
        letters.push(char::from(b'A' + (rest % 26) as u8));
        match rest / 26 {
            0 => break,
            more => rest = more - 1,
        }
    }
    letters.iter().rev().collect()
}

/// The colour of a part of the greatest heat, from 0 to 1.
pub(crate) fn heat(part: f32) -> Color32 {
    let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 1.0 };
    let at = part * (HEAT.len() - 1) as f32;
    let from = (at as usize).min(HEAT.len() - 2);
    let mixed: Vec<u8> = (0..3)
        .map(|c| HEAT[from][c] + (HEAT[from + 1][c] - HEAT[from][c]) * (at - from as f32))
        .map(|value| value.round() as u8)
        .collect();
    Color32::from_rgb(mixed[0], mixed[1], mixed[2])
}

/// Black or white, whichever can be read on a colour.
pub(crate) fn ink(on: Color32) -> Color32 {
    if is_light([on.r(), on.g(), on.b()]) { Color32::from_gray(0x10) } else { Color32::WHITE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_devices_of_the_first_twenty_eight_look_alike() {
        let looks: HashSet<_> = (0..28).map(|n| (device(n).to_array(), pattern(n) as u8)).collect();
        assert_eq!(looks.len(), 28);
        let names: Vec<String> = [0, 25, 26, 27, 701, 702].map(letters).to_vec();
        assert_eq!(names, ["A", "Z", "AA", "AB", "ZZ", "AAA"]);
    }

    #[test]
    fn more_heat_is_lighter() {
        let light = |c: Color32| u32::from(c.r()) + u32::from(c.g()) * 2 + u32::from(c.b()) / 2;
        let ramp: Vec<u32> = (0..=20).map(|n| light(heat(n as f32 / 20.0))).collect();
        assert!(ramp.windows(2).all(|pair| pair[0] < pair[1]), "{ramp:?}");
        assert_eq!(heat(f32::NAN), heat(1.0));
    }
}
