//! A model compiled into a temporary bundle, opened as a user's would be, and running.
use compiler::import::Checkpoint;
use compiler::{Bundle, Draft, compile};
use ir::DType;
use ir::plan::{Activations, Device, Options, Partition};
use runtime::{Answers, Batch, Row, Session, Times};
use tempfile::TempDir;

/// Room for two sequences, in pages so short that every prompt crosses some; everything exact.
pub fn exact(context: u32) -> Options {
    Options {
        context,
        max_batch: 2,
        chunk: 128,
        rows: 128,
        page: 16,
        kv: DType::F32,
        activations: Activations::F32,
        partition: Partition::WHOLE,
        all_reduce: Default::default(),
        micro_batches: 1,
        memory: None,
        hints: vec![],
    }
}

/// A session, and the folder that it maps its weights from.
pub struct Running {
    /// The session.
    pub session: Session,
    _dir: TempDir,
}

impl Running {
    /// Compiles for one device with a team of `threads`, and starts.
    pub fn start(checkpoint: &Checkpoint, options: Options, threads: u32) -> Running {
        Running::on(checkpoint, options, &[Device::cpu(0, threads)])
    }

    /// Compiles for these devices, and starts.
    pub fn on(checkpoint: &Checkpoint, options: Options, devices: &[Device]) -> Running {
        let fail = |e: &dyn std::fmt::Display| -> ! { panic!("{e}") };
        let dir = TempDir::new().expect("a temporary folder");
        let path = dir.path().join("bundle.heddle");
        let compiled = compile(checkpoint, options, devices).unwrap_or_else(|e| fail(&e));
        let draft = Draft::begin(&path).unwrap_or_else(|e| fail(&e));
        draft.finish(&compiled, checkpoint, None, &|_| {}).unwrap_or_else(|e| fail(&e));
        let bundle = Bundle::open(&path).unwrap_or_else(|e| fail(&e));
        let engines = bundle.engines().unwrap_or_else(|e| fail(&e));
        let session = Session::start_on(&bundle.plan, engines, bundle.weights.clone(), Times::None);
        let session = session.unwrap_or_else(|e| fail(&e));
        Running { session, _dir: dir }
    }

    /// One step: logits after each of `tokens`, which stand in `slot` from position `at`. The candidates are the greatest
    /// of them.
    pub fn step(&mut self, slot: i32, at: usize, tokens: &[i32]) -> &[f32] {
        let n = tokens.len() as i32;
        let positions: Vec<i32> = (at as i32..at as i32 + n).collect();
        let rows: Vec<i32> = (0..n).collect();
        let slots = vec![slot; tokens.len()];
        let batch = Batch { tokens, positions: &positions, slots: &slots, rows: &rows, whole: true };
        let answers = self.session.step(&batch).unwrap_or_else(|e| panic!("{e}"));
        let rows = answers.logits().chunks(answers.logits().len() / rows.len());
        check_candidates(answers, rows);
        answers.logits()
    }
}

/// Holds candidates to the logits of the same rows, sorted.
pub fn check_candidates<'a>(answers: &Answers, rows: impl Iterator<Item = &'a [f32]>) {
    let mut candidates = answers.candidates();
    for row in rows {
        let Some(Row::Best { logits, tokens, of }) = candidates.next() else {
            panic!("a row has no candidates")
        };
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        order.truncate(logits.len());
        assert!(of == row.len() && logits.len() == row.len().min(64));
        assert!(tokens.iter().map(|token| *token as usize).eq(order.iter().copied()));
        assert!(order.iter().zip(logits).all(|(token, logit)| row[*token] == *logit));
    }
    assert_eq!(candidates.next(), None);
}

/// The token with the largest logit.
pub fn best(logits: &[f32]) -> i32 {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("a vocabulary") as i32
}
