//! The part of the verifier that holds the plan to its options, and to what the host feeds and takes:
//! symbols, the edges at the host's end, and the states that the host gives out pages of.
use super::Faults;
use crate::expr::bounds::SYMBOL_MAX;
use crate::plan::{Activations, CAPACITY_MAX, DeviceId, Edge, End, Partition, Plan, Section, State, Symbol};
use crate::quant::Format;
use crate::{DType, Dim, TensorType};

/// What the host sends in every step.
const FED: [&str; 6] = ["tokens", "positions", "slots", "pages", "rows", "whole"];
/// What it takes.
const TAKEN: [&str; 2] = ["logits", "candidates"];

impl Plan {
    pub(super) fn verify_options(&self, faults: &mut Faults) {
        let o = &self.options;
        let mut fault = |message: String| faults.add(Section::Options, 0, message);
        let symbol_max = SYMBOL_MAX as u32;
        for (name, value, most) in [
            ("context", o.context, i32::MAX as u32),
            ("max_batch", o.max_batch, symbol_max),
            ("chunk", o.chunk, symbol_max),
            ("rows", o.rows, symbol_max),
            ("page", o.page, i32::MAX as u32),
            ("micro_batches", o.micro_batches, CAPACITY_MAX),
            ("partition.data", o.partition.data, Partition::DEGREE_MAX),
            ("partition.pipeline", o.partition.pipeline, Partition::DEGREE_MAX),
            ("partition.tensor", o.partition.tensor, Partition::DEGREE_MAX),
        ] {
            if value == 0 || value > most {
                fault(format!("{name} is {value}, expected 1 to {most}"));
            }
        }
        if !matches!(o.kv, DType::F16 | DType::F32) {
            fault(format!("the KV cache has dtype {}, expected f16 or f32", o.kv));
        }
        if !self.devices.len().is_multiple_of(o.partition.data.max(1) as usize) {
            fault(format!("{} devices cannot be {} replicas", self.devices.len(), o.partition.data));
        }
        if o.page > 0 && self.pages() > i64::from(i32::MAX) {
            fault(format!(
                "{} sequences take {} pages, expected at most {}",
                o.max_batch,
                self.pages(),
                i32::MAX
            ));
        }
        let quantised = |ty: &TensorType| ty.dtype == DType::Quant(Format::Q8A);
        if let Some(k) = self.kernels.iter().find(|k| k.inputs.iter().chain([&k.output]).any(quantised))
            && o.activations == Activations::F32
        {
            fault(format!("activations are f32, {} has them as {}", k.id, DType::Quant(Format::Q8A)));
        }
    }

    pub(super) fn verify_symbols(&self, faults: &mut Faults) {
        let o = &self.options;
        let batch = i64::from(o.replica_batch());
        let expected = [("n", o.chunk), ("m", o.rows), ("w", o.rows)];
        for (index, Symbol { name, max, decode }) in self.symbols.iter().enumerate() {
            let Some((_, most)) = expected.iter().find(|e| e.0 == name) else {
                faults.add(Section::Symbols, index, format!("symbol {name:?}, expected n, m or w"));
                continue;
            };
            let most = i64::from(*most).max(batch);
            if (*max, *decode) != (most, batch) {
                let message = format!(
                    "symbol {name} is at most {max}, in decode {decode}; the options make it {most} and {batch}"
                );
                faults.add(Section::Symbols, index, message);
            }
            if self.symbols[..index].iter().any(|s| s.name == *name) {
                faults.add(Section::Symbols, index, format!("symbol {name} is listed twice"));
            }
        }
        for (name, _) in expected.iter().filter(|e| self.symbols.iter().all(|s| s.name != e.0)) {
            faults.add(Section::Symbols, usize::MAX, format!("symbol {name} is not listed"));
        }
    }

    pub(super) fn verify_host(&self, faults: &mut Faults) {
        let at_host = |e: &&Edge| e.from == End::Host || e.to == End::Host;
        for edge in self.edges.iter().filter(at_host) {
            let index = edge.id.0 as usize;
            let earlier = self.edges.iter().take(index);
            if earlier.filter(|e| (&e.name, e.from, e.to) == (&edge.name, edge.from, edge.to)).count() > 0 {
                faults.add(Section::Edges, index, format!("is a second edge for {:?}", edge.name));
            }
            if edge.from == edge.to {
                faults.add(Section::Edges, index, format!("goes from {} to itself", edge.from));
            }
            if let Some(message) = self.misfit(edge) {
                faults.add(Section::Edges, index, message);
            }
        }
        for replica in 0..self.options.partition.data {
            let joins = |edge: &Edge, name: &str, is_fed: bool| {
                let device = if is_fed { edge.to } else { edge.from };
                let is_own = matches!(device, End::Device(id) if self.replica_of(id) == replica);
                edge.name == name && (edge.from == End::Host) == is_fed && is_own
            };
            let of = match self.options.partition.data {
                1 => String::new(),
                _ => format!(" of replica {replica}"),
            };
            for name in FED.iter().filter(|name| !self.edges.iter().any(|e| joins(e, name, true))) {
                faults.add(Section::Edges, usize::MAX, format!("no edge brings {name} from the host{of}"));
            }
            for name in TAKEN {
                let mut results = (0..self.edges.len()).filter(|e| joins(&self.edges[*e], name, false));
                if results.next().is_none() {
                    faults.add(Section::Edges, usize::MAX, format!("no edge brings {name} to the host{of}"));
                }
                if let Some(second) = results.next() {
                    faults.add(Section::Edges, second, format!("is a second edge for {name:?}{of}"));
                }
            }
        }
    }

    /// What is wrong with an edge that has the host at one end.
    fn misfit(&self, edge: &Edge) -> Option<String> {
        let symbol = |name: &str| vec![Dim::symbol(name)];
        let shape = match (edge.name.as_str(), edge.from) {
            ("tokens" | "positions" | "slots", End::Host) => symbol("n"),
            ("rows", End::Host) => symbol("m"),
            ("whole", End::Host) => symbol("w"),
            ("pages", End::Host) => {
                vec![
                    i64::from(self.options.replica_batch()).into(),
                    i64::from(self.pages_per_sequence()).into(),
                ]
            }
            // Every replica's as those of the first.
            ("logits", End::Device(_)) => return misbrought(edge, "w", &[], self.vocabulary(), "vocabulary"),
            ("candidates", End::Device(_)) => {
                return misbrought(edge, "m", &[2], self.candidates(), "candidates");
            }
            (name, End::Host) => {
                return Some(format!("is fed {name:?}, the host feeds {}", FED.join(", ")));
            }
            (name, End::Device(_)) => {
                return Some(format!("brings {name:?} to the host, expected {}", TAKEN.join(" or ")));
            }
        };
        let expected = TensorType::new(DType::I32, shape);
        (edge.ty != expected)
            .then(|| format!("carries {}, the host feeds {} as {expected}", edge.ty, edge.name))
    }

    /// How many logits a row has, if that is stated as it must be.
    pub(super) fn vocabulary(&self) -> Option<i64> {
        match self.brought("logits", "w")? {
            [width] => width.known().filter(|w| (1..=i64::from(i32::MAX)).contains(w)),
            _ => None,
        }
    }

    /// How many candidates a row has, if that is stated as it must be.
    fn candidates(&self) -> Option<i64> {
        match self.brought("candidates", "m")? {
            [two, count] if two.known() == Some(2) => {
                count.known().filter(|k| (1..=self.vocabulary().unwrap_or(0)).contains(k))
            }
            _ => None,
        }
    }

    /// What comes to the host of each of so many rows.
    fn brought(&self, name: &str, rows: &str) -> Option<&[Dim]> {
        let edge = self.edges.iter().find(|e| e.name == name && e.to == End::Host)?;
        let (count, each) = edge.ty.shape.split_first()?;
        (edge.ty.dtype == DType::F32 && *count == Dim::symbol(rows)).then_some(each)
    }

    /// Pages of the KV cache that all sequences of a replica together can fill.
    fn pages(&self) -> i64 {
        i64::from(self.options.replica_batch()) * i64::from(self.pages_per_sequence())
    }

    /// A state is a cache that has every page which the host may give out, as the kernels that use it take it.
    pub(super) fn verify_states(&self, faults: &mut Faults) {
        let o = &self.options;
        let taken = self.transposed_states();
        for (index, State { id, ty, .. }) in self.states.iter().enumerate() {
            let mut ways = taken.iter().filter(|(state, _)| state == id).map(|(_, transposed)| *transposed);
            let transposed = ways.next().unwrap_or(false);
            if ways.any(|other| other != transposed) {
                faults.add(Section::States, index, "is taken transposed by one kernel and not by another");
            }
            let fits = match &ty.shape[..] {
                [pages, _, a, b] => {
                    let page = if transposed { b } else { a };
                    pages.known().is_some_and(|p| p >= self.pages())
                        && page.known() == Some(i64::from(o.page))
                }
                _ => false,
            };
            if !fits || ty.dtype != o.kv {
                let rest =
                    if transposed { format!("width, {}", o.page) } else { format!("{}, width", o.page) };
                let pages = self.pages();
                let message =
                    format!("is {ty}, the options ask for {}[{pages} pages or more, heads, {rest}]", o.kv);
                faults.add(Section::States, index, message);
            }
        }
    }

    /// What the host holds the numbers of an edge to: the least and the greatest.
    pub(super) fn fed_within(&self, name: &str) -> Option<[Dim; 2]> {
        let o = &self.options;
        let end = match name {
            "tokens" => Dim::from(self.vocabulary()?),
            "positions" => Dim::from(i64::from(o.context)),
            "slots" => Dim::from(i64::from(o.replica_batch())),
            "rows" => Dim::symbol("n"),
            "whole" => Dim::symbol("m"),
            _ => return None,
        };
        Some([Dim::from(0), end - Dim::from(1)])
    }

    /// The edge's name, if the host feeds it to the device.
    pub(super) fn fed_to(&self, device: DeviceId, edge: &Edge) -> Option<&'static str> {
        let is_fed = (edge.from, edge.to) == (End::Host, End::Device(device));
        FED.into_iter().find(|name| is_fed && *name == edge.name)
    }
}

/// What is wrong with an edge that should bring the host `f32[rows, ..each, width]`; `named` stands for a width that is
/// not known.
fn misbrought(edge: &Edge, rows: &str, each: &[i64], width: Option<i64>, named: &str) -> Option<String> {
    let each = each.iter().map(|d| Dim::from(*d));
    let shape = |width: i64| [Dim::symbol(rows)].into_iter().chain(each.clone()).chain([Dim::from(width)]);
    let fits = width.is_some_and(|width| edge.ty == TensorType::new(DType::F32, shape(width)));
    let told = width.map_or(named.into(), |width| width.to_string());
    let each: String = each.clone().map(|d| format!("{d}, ")).collect();
    (!fits).then(|| format!("brings {} to the host, expected f32[{rows}, {each}{told}]", edge.ty))
}
