//! The binary `heddle`: parses the command line, runs one subcommand, turns its result into an exit code.
use clap::{Parser, Subcommand};
use cli::{
    bench, chat, compile, devices, diff, edit, eval, explain, inspect, interrupt, models, output, pull, rm,
    run, simulate, tokenize, trace, verify, view, why,
};
use std::process::ExitCode;

/// Compiles language models into plans that you can read, and runs exactly those plans.
#[derive(Parser)]
#[command(name = "heddle", version, max_term_width = 100)]
struct Heddle {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Chat(chat::Options),
    Run(run::Options),
    Compile(compile::Options),
    Explain(explain::Options),
    Verify(verify::Options),
    Diff(diff::Options),
    Edit(edit::Options),
    Why(why::Options),
    View(view::Options),
    Eval(eval::Options),
    Bench(bench::Options),
    Simulate(simulate::Options),
    Trace(trace::Options),
    Pull(pull::Options),
    Models(models::Options),
    Rm(rm::Options),
    Inspect(inspect::Options),
    Tokenize(tokenize::Options),
    Devices(devices::Options),
}

fn main() -> ExitCode {
    // A layer of Mesa's, which asks a display which GPU to prefer, complains on standard error where there is none.
    // SAFETY: no other thread has been started yet.
    unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    let heddle = match Heddle::try_parse() {
        Ok(heddle) => heddle,
        Err(error) => {
            // Nothing is lost if this cannot be printed: the exit code says the same.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = interrupt::install().and_then(|()| match heddle.command {
        Command::Chat(options) => chat::run(options),
        Command::Run(options) => run::run(options),
        Command::Compile(options) => compile::run(options),
        Command::Explain(options) => explain::run(options),
        Command::Verify(options) => verify::run(options),
        Command::Diff(options) => diff::run(options),
        Command::Edit(options) => edit::run(options),
        Command::Why(options) => why::run(options),
        Command::View(options) => view::run(options),
        Command::Eval(options) => eval::run(options),
        Command::Bench(options) => bench::run(options),
        Command::Simulate(options) => simulate::run(options),
        Command::Trace(options) => trace::run(options),
        Command::Pull(options) => pull::run(options),
        Command::Models(options) => models::run(options),
        Command::Rm(options) => rm::run(options),
        Command::Inspect(options) => inspect::run(options),
        Command::Tokenize(options) => tokenize::run(options),
        Command::Devices(options) => devices::run(options),
    });
    output::exit_code(result)
}
