//! `heddle-view`: a window, or a page instead of one.
use clap::Parser;
use eframe::{NativeOptions, egui};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use viewer::document::Document;
use viewer::html;
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
  heddle-view smollm2.heddle --html smollm2.html
  heddle-view before.heddle --compare after.heddle
  heddle-view --watch /tmp/heddle.sock"
)]
struct Options {
    /// A bundle, a plan or a graph's text
    #[arg(required_unless_present = "watch")]
    file: Option<PathBuf>,
    /// What was measured: JSON of `heddle trace`
    #[arg(long, value_name = "FILE", requires = "file")]
    trace: Option<PathBuf>,
    /// How its numbers compare with the model's: JSON of `heddle verify --numerics --json`
    #[arg(long, value_name = "FILE", requires = "file")]
    numerics: Option<PathBuf>,
    /// What to compare it with, of the same kind
    #[arg(long, value_name = "OTHER", requires = "file")]
    compare: Option<PathBuf>,
    /// Watch the run whose `heddle run --watch-socket` this is
    #[arg(long, value_name = "SOCKET")]
    watch: Option<PathBuf>,
    /// Write one page that needs no server there, instead of opening a window
    #[arg(long, value_name = "OUT", conflicts_with_all = ["watch", "compare"])]
    html: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Options { file, trace, numerics, compare, watch, html } = Options::parse();
    let request = Request { file, trace, numerics, compare, watch };
    let done = match html {
        Some(out) => write_page(&request, &out),
        None => open_window(request),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn open_window(request: Request) -> Result<(), String> {
    let displays = ["WAYLAND_DISPLAY", "WAYLAND_SOCKET", "DISPLAY"];
    if cfg!(target_os = "linux") && displays.iter().all(|name| std::env::var_os(name).is_none()) {
        let missing = displays.join(", ");
        return Err(format!(
            "there is no display: none of {missing} is set; --html OUT writes a page instead"
        ));
    }
    let window = egui::ViewportBuilder::default().with_inner_size([1400.0, 900.0]).with_app_id("heddle-view");
    let native = NativeOptions { viewport: window, ..NativeOptions::default() };
    let opened = eframe::run_native(
        "Heddle",
        native,
        Box::new(|created| {
            dress(&created.egui_ctx);
            Ok(Box::new(Viewer::new(&created.egui_ctx, request)))
        }),
    );
    opened.map_err(|fault| format!("cannot open a window: {fault}; --html OUT writes a page instead"))
}

fn write_page(request: &Request, out: &Path) -> Result<(), String> {
    let page = || {
        let mut document = Document::open(request.file.as_deref().unwrap_or(Path::new("")))?;
        request.trace.as_ref().map_or(Ok(()), |trace| document.add_trace(trace))?;
        request.numerics.as_ref().map_or(Ok(()), |numerics| document.add_numbers(numerics))?;
        Ok::<_, Box<dyn std::error::Error>>(html::page(&document)?)
    };
    let page = page().map_err(|fault| fault.to_string())?;
    std::fs::write(out, page).map_err(|fault| format!("cannot write {}: {fault}", out.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_beside_a_document_needs_one() {
        let read = |args: &str| Options::try_parse_from(args.split(' '));
        assert!(
            read("heddle-view --watch s").is_ok()
                && read("heddle-view --watch s a.ir --compare b.ir").is_ok()
        );
        for alone in ["--compare b.ir", "--trace t.json", "--numerics n.json"] {
            let fault = read(&format!("heddle-view --watch s {alone}")).err().expect(alone).to_string();
            assert!(fault.contains("[FILE]") || fault.contains("<FILE>"), "{fault}");
        }
    }
}
