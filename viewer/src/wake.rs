//! How threads of the viewer call whoever waits for them.
use std::sync::Arc;

/// Called, from any thread, when there is something new to look at: as a rule it has the window drawn again.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Calls nobody.
pub fn nobody() -> Wake {
    Arc::new(|| ())
}
