//! What the black-box tests share: bundles, a runtime with a state directory of its own, the host's cgroup hierarchy, consoles, and the
//! search for what a test run left behind.
//!
//! A test here starts the built binary (`RRUN_BIN`, by default `bin/rrun`) and looks at what it prints, at its exit code and at the kernel's
//! view of the container. Nothing here links the runtime's library.

pub mod bundle;
pub mod console;
pub mod host;
pub mod leaks;
pub mod runtime;

pub use bundle::Bundle;
pub use console::ConsoleSocket;
pub use host::{Hierarchy, eventually, hierarchy, patience, unique};
pub use runtime::{Output, Runtime};

/// Ends a test early on a machine that lacks what it needs, with the reason. The summary counts and lists it as skipped.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::host::note_skip(&format!($($reason)*));
        return;
    }};
}
