//! One self-contained page: a document that needs no program and no network to be looked at.
//!
//! Every group is laid out here, closed groups in it as boxes; the page's script opens them by moving aside what stands
//! around. What comes from files is data of the page, never a part of its text.
mod data;
mod plan;

use crate::document::Document;
use data::Data;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// What the page does, in the order in which it is read.
const SCRIPT: &str = concat!(
    include_str!("script/groups.js"),
    include_str!("script/measure.js"),
    include_str!("script/draw.js"),
    include_str!("script/actions.js"),
    include_str!("script/search.js"),
    include_str!("script/panel.js"),
    include_str!("script/input.js"),
);

/// Nodes of all passes together at most: a browser has no room for more.
const NODES_MAX: usize = 400_000;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// There is more than a browser has room for.
    #[error(
        "{nodes} nodes in all passes, expected at most {NODES_MAX} on a page: give one graph of the bundle instead"
    )]
    Size {
        /// How much there is.
        nodes: usize,
    },
    /// It cannot be written as JSON.
    #[error("cannot write the page's data: {0}")]
    Json(#[from] serde_json::Error),
}

/// The page of a document.
pub fn page(document: &Document) -> Result<String, PageError> {
    let nodes = document.passes.iter().map(|pass| pass.flow.nodes.len()).sum();
    if nodes > NODES_MAX {
        return Err(PageError::Size { nodes });
    }
    // Within a script element only `<` could end it.
    let data = serde_json::to_string(&Data::of(document))?.replace('<', "\\u003c");
    // One pass over the frame, so that nothing in what is put in is taken for a place to put something in.
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + data.len());
    for (at, piece) in PAGE.split("/*").enumerate() {
        match (at, piece.split_once("*/")) {
            (0, _) | (_, None) => page += piece,
            (_, Some((name, rest))) => {
                page += match name {
                    "style" => STYLE,
                    "data" => &data,
                    _ => SCRIPT,
                };
                page += rest;
            }
        }
    }
    Ok(page)
}
