//! What architectures share.
pub(super) mod attention;
pub(super) mod head;
pub(super) mod mlp;
pub(super) mod moe;
pub(super) mod norm;
pub(super) mod rope;
