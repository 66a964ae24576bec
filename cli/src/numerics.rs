//! `heddle verify --numerics`: whether a bundle's plan computes what its model means, value by value.
use crate::output::{self, Told};
use crate::prompt;
use anyhow::{Context, bail};
use clap::Args;
use compiler::Bundle;
use compiler::numerics::{Blame, Finding, Report, numerics};
use compiler::tokenizer::SpecialTokens;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

/// The interpreter is slow: a longer prompt is cut.
const TOKENS: usize = 32;

/// What `verify` is told of a run beside the reference interpreter.
#[derive(Args, Debug)]
pub(crate) struct Numerics {
    /// Run the plan beside the reference interpreter, and name the first value beyond tolerance
    #[arg(long)]
    numerics: bool,
    /// The text to run it on, as it stands; of a long one the beginning
    #[arg(long, short, value_name = "TEXT", requires = "numerics", conflicts_with = "file")]
    prompt: Option<OsString>,
    /// Read the text from a file
    #[arg(long, short, value_name = "PATH", requires = "numerics")]
    file: Option<PathBuf>,
    /// Print one line of JSON: each layer's and each value's error, and the first value beyond tolerance
    #[arg(long, requires = "numerics")]
    json: bool,
}

impl Numerics {
    /// Whether anybody wants it.
    pub(crate) fn are_asked(&self) -> bool {
        self.numerics
    }

    /// Whether only JSON is to be written.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Runs the plan beside the interpreter and says what came of it; an error where the plan is wrong.
    pub(crate) fn run(&self, bundle: &Bundle) -> anyhow::Result<()> {
        let text = match (&self.prompt, &self.file) {
            (Some(prompt), _) => prompt.clone().into_encoded_bytes(),
            (None, Some(path)) => {
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            (None, None) => bail!("--numerics takes a text to run the plan on: --prompt TEXT or --file PATH"),
        };
        let tokenizer = bundle.checkpoint.tokenizer()?;
        let ids = tokenizer.encode(&prompt::text(text)?, SpecialTokens::Parsed)?;
        let ids = prompt::begun(&tokenizer, ids);
        let options = &bundle.plan.options;
        let most = TOKENS.min(options.chunk as usize).min(options.context as usize).max(1);
        let tokens: Vec<i32> = ids.iter().take(most).map(|id| *id as i32).collect();
        if tokens.len() < ids.len() && !self.json {
            note!("of {} tokens the first {}", ids.len(), tokens.len());
        }
        let report = numerics(bundle, &tokens)?;
        if self.json {
            output::write_json(&report)?;
            return if report.first.is_none() { Ok(()) } else { Err(Told(1).into()) };
        }
        output::write(&shown(&report))?;
        match &report.first {
            None => Ok(()),
            Some(finding) => bail!("{} is not what the model means", finding.node),
        }
    }
}

/// An error as people read it.
fn digits(error: f64) -> String {
    if error == 0.0 { "0".to_owned() } else { format!("{error:.1e}") }
}

/// The report as text.
fn shown(report: &Report) -> String {
    let row = |name: &str, error: f64, node: &str| vec![name.to_owned(), digits(error), node.to_owned()];
    let mut rows: Vec<_> =
        report.layers.iter().map(|layer| row(&layer.name, layer.error, &layer.node)).collect();
    rows.extend(report.logits.map(|error| row("logits", error, "")));
    let mut text = output::table(&["LAYER", " ERROR", "WORST NODE"], &rows);
    text += &format!(
        "\n{} tokens; {} values compared with the reference interpreter's, {} are none of its values\n",
        report.tokens, report.compared, report.apart
    );
    if report.reformatted > 0 {
        text += &format!(
            "{} weights are by hints in another format than the file's, and the reference has them so, too\n",
            report.reformatted
        );
    }
    match &report.first {
        Some(finding) => text += &found(finding),
        None => {
            text += &format!(
                "within tolerance: {} of a row, {} where it comes of the inputs\n",
                digits(report.jump),
                digits(report.drift)
            );
        }
    }
    text
}

fn found(finding: &Finding) -> String {
    let Finding { node, operator, device, step, kernel, error, at, found, expected, .. } = finding;
    let mut text = format!(
        "first beyond tolerance: {node} = {operator}() on {device}, step {step}, kernel {kernel}\n\
         its error is {}: found {found} at {at:?}, expected {expected}\n",
        digits(*error)
    );
    let inputs: Vec<_> = finding
        .inputs
        .iter()
        .map(|input| vec![input.name.clone(), input.error.map_or("no value of the reference".into(), digits)])
        .collect();
    text += &output::table(&["INPUT", " ERROR"], &inputs);
    text += &format!("last changed by the pass {}\n", finding.made_by);
    text += &match &finding.blame {
        Blame::Pass { pass, node, operator, error } => format!(
            "wrong since the pass {pass}: in the graph that it left, {node} = {operator}() is the first beyond tolerance, by {}\n",
            digits(*error)
        ),
        Blame::Code { kernel } => format!(
            "every graph is right, and so are the plan's steps: the code of the kernel {kernel} is wrong\n"
        ),
        Blame::Steps { is_edited: true } => {
            "every graph is right: the plan was edited, and does not compute the last of them\n".to_owned()
        }
        Blame::Steps { is_edited: false } => {
            "every graph is right: the passes schedule and memory made a plan that does not compute the last of them\n"
                .to_owned()
        }
    };
    text
}
