//! Graphs of any size, with the names of a language model.
use std::fmt::Write;

/// The nodes of a layer.
pub(crate) const LAYER: usize = 29;

/// The text of a graph of about as many nodes: an embedding, equal layers, and logits.
pub(crate) fn graph(nodes: usize) -> String {
    let mut text = String::from(
        "graph step {\n  tokens = input(): i32[n] <- 0\n  positions = input(): i32[n] <- 1\n  \
         embd = weight(): f32[32, 64] <- 2\n  %x = gather(embd, tokens): f32[n, 64] @embed <- 3\n",
    );
    let (mut x, mut next) = ("x".to_owned(), 4);
    for layer in 0..nodes.saturating_sub(6).div_ceil(LAYER).max(1) {
        let mut reference = || {
            next += 1;
            next - 1
        };
        let mut line = |name: &str, what: &str, ty: &str, path: &str| {
            let path = if path.is_empty() { String::new() } else { format!(" @blk.{layer}.{path}") };
            let _ = writeln!(text, "  {name} = {what}: {ty}{path} <- {}", reference());
        };
        let weight = |name: &str| format!("blk.{layer}.{name}.weight");
        let value = |name: &str| format!("%{name}_{layer}");
        let row = "f32[n, 64]";
        line(&weight("attn_norm"), "weight()", "f32[64]", "");
        line(
            &value("norm"),
            &format!("rms_norm(%{x}, {}) {{eps:1e-5}}", weight("attn_norm")),
            row,
            "attn_norm",
        );
        for name in ["q", "k", "v"] {
            let own = weight(&format!("attn_{name}"));
            line(&own, "weight()", "f32[64, 64]", "");
            line(&value(name), &format!("linear({}, {own})", value("norm")), row, &format!("attn_{name}"));
            let heads = format!("{name}h");
            line(&value(&heads), &format!("neg({})", value(name)), row, &format!("attn_{name}_heads"));
        }
        line(&value("scores"), &format!("mul({}, {})", value("qh"), value("kh")), row, "attention");
        line(&value("probs"), &format!("exp({})", value("scores")), row, "attention");
        line(&value("mixed"), &format!("mul({}, {})", value("probs"), value("vh")), row, "attention");
        line(&weight("attn_output"), "weight()", "f32[64, 64]", "");
        line(
            &value("o"),
            &format!("linear({}, {})", value("mixed"), weight("attn_output")),
            row,
            "attn_output",
        );
        line(&value("mid"), &format!("add(%{x}, {})", value("o")), row, "attn_residual");
        line(&weight("ffn_norm"), "weight()", "f32[64]", "");
        line(
            &value("fnorm"),
            &format!("rms_norm({}, {}) {{eps:1e-5}}", value("mid"), weight("ffn_norm")),
            row,
            "ffn_norm",
        );
        for name in ["gate", "up"] {
            let own = weight(&format!("ffn_{name}"));
            line(&own, "weight()", "f32[64, 64]", "");
            line(&value(name), &format!("linear({}, {own})", value("fnorm")), row, &format!("ffn_{name}"));
        }
        line(&value("act"), &format!("silu({})", value("gate")), row, "ffn_act");
        line(&value("prod"), &format!("mul({}, {})", value("act"), value("up")), row, "ffn_mul");
        line(&weight("ffn_down"), "weight()", "f32[64, 64]", "");
        line(&value("down"), &format!("linear({}, {})", value("prod"), weight("ffn_down")), row, "ffn_down");
        line(&value("out"), &format!("add({}, {})", value("mid"), value("down")), row, "ffn_residual");
        x = format!("out_{layer}");
    }
    let _ = writeln!(text, "  head = weight(): f32[32, 64] <- {next}");
    let _ = writeln!(text, "  %logits = linear(%{x}, head): f32[n, 32] @output <- {}", next + 1);
    text + "  return %logits\n}\n"
}
