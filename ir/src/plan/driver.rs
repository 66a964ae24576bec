//! What an accelerator's driver takes beside what a plan states, and what it allows.
use serde::{Deserialize, Serialize};

/// What the driver of a device takes and allows; of processors nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Driver {
    /// Bytes that it takes of the device's memory: its context, the kernels' code, recorded steps.
    #[serde(skip_serializing_if = "is_zero")]
    pub device_bytes: u64,
    /// Bytes that it takes of the host's memory: what copies pass through, its own code and lists.
    #[serde(skip_serializing_if = "is_zero")]
    pub host_bytes: u64,
    /// Bytes of one value at most that a kernel can be given; none: as many as there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_bytes: Option<u64>,
    /// Whether the device's memory is the host's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_on_host: bool,
}

impl Driver {
    /// Whether there is nothing to say of it.
    pub fn is_none(&self) -> bool {
        *self == Driver::default()
    }

    /// Bytes that it takes in all.
    pub fn bytes(&self) -> u64 {
        self.device_bytes.saturating_add(self.host_bytes)
    }
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}
