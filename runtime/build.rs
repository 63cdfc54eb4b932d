//! Hands the compiler's version to `rrun --version`.

use std::process::Command;

fn main() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    println!("cargo:rustc-env=RRUN_RUSTC={}", text.split_whitespace().nth(1).unwrap_or("unknown"));
    println!("cargo:rerun-if-changed=build.rs");
}
