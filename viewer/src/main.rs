//! `heddle-view`: the window.
use clap::Parser;
use eframe::{NativeOptions, egui};
use std::path::PathBuf;
use viewer::panels::{Request, Viewer, dress};

/// Look at what Heddle's compiler did, and at what the machine is doing
#[derive(Parser)]
#[command(
    name = "heddle-view",
    version,
    after_help = "\
Examples:
  heddle-view smollm2.heddle
  heddle-view smollm2.heddle --trace trace.json
  heddle-view before.heddle --compare after.heddle
  heddle-view --watch /tmp/run.sock"
)]
struct Options {
    /// A bundle, a plan or a graph's text
    file: Option<PathBuf>,
    /// What was measured: JSON of `heddle trace`
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// How its numbers compare with the model's: JSON of `heddle verify --numerics --json`
    #[arg(long, value_name = "FILE")]
    numerics: Option<PathBuf>,
    /// What to compare it with, of the same kind
    #[arg(long, value_name = "OTHER")]
    compare: Option<PathBuf>,
    /// Watch the run whose `heddle run --watch-socket` this is
    #[arg(long, value_name = "SOCKET")]
    watch: Option<PathBuf>,
}

fn main() -> eframe::Result {
    let Options { file, trace, numerics, compare, watch } = Options::parse();
    let request = Request { file, trace, numerics, compare, watch };
    let window = egui::ViewportBuilder::default().with_inner_size([1400.0, 900.0]).with_app_id("heddle-view");
    let native = NativeOptions { viewport: window, ..NativeOptions::default() };
    eframe::run_native(
        "Heddle",
        native,
        Box::new(|created| {
            dress(&created.egui_ctx);
            Ok(Box::new(Viewer::new(&created.egui_ctx, request)))
        }),
    )
}
