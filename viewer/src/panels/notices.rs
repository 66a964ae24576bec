//! Messages in the window: what went wrong, and what a person should know.
use super::theme::Palette;
use super::units;
use eframe::egui::{self, RichText};

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something was not done.
    Error,
    /// Something is odd.
    Remark,
    /// Something was done.
    Done,
}

/// Messages that nobody has closed yet.
#[derive(Debug, Default)]
pub(crate) struct Notices(Vec<(Kind, String)>);

/// More are not shown at once: the oldest goes.
const MOST: usize = 5;
/// Longer ones are cut: they quote what stands in files, which can be as long as it likes.
const LETTERS_MOST: usize = 2_000;

impl Notices {
    pub(crate) fn push(&mut self, kind: Kind, text: impl Into<String>) {
        let text = units::shortened(&text.into(), LETTERS_MOST);
        self.0.retain(|(_, other)| *other != text);
        self.0.push((kind, text));
        if self.0.len() > MOST {
            self.0.remove(0);
        }
    }

    pub(crate) fn error(&mut self, fault: &dyn std::fmt::Display) {
        self.push(Kind::Error, fault.to_string());
    }

    pub(crate) fn draw(&mut self, ui: &mut egui::Ui) {
        let palette = Palette::of_ui(ui);
        let mut closed = None;
        for (at, (kind, text)) in self.0.iter().enumerate() {
            let (word, colour) = match kind {
                Kind::Error => ("Error", palette.removed),
                Kind::Remark => ("Note", palette.changed),
                Kind::Done => ("Done", palette.added),
            };
            let frame = egui::Frame::new()
                .inner_margin(egui::Margin::symmetric(10, 6))
                .fill(palette.tinted(colour, 0.12))
                .stroke(egui::Stroke::new(1.0, colour))
                .corner_radius(4);
            frame.show(ui, |ui| {
                ui.horizontal_top(|ui| {
                    ui.label(RichText::new(word).strong().color(colour));
                    if super::named_button(ui, "Close", &format!("Close message {}", at + 1)).clicked() {
                        closed = Some(at);
                    }
                    ui.add(egui::Label::new(text).wrap());
                });
            });
        }
        if let Some(at) = closed {
            self.0.remove(at);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_never_longer_than_can_be_read() {
        let mut notices = Notices::default();
        notices.push(Kind::Error, "a".repeat(1 << 24));
        assert_eq!(notices.0[0].1.chars().count(), LETTERS_MOST);
    }
}
