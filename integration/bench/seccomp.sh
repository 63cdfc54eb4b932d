#!/bin/bash
# Row 6: our filter of docker's default profile against libseccomp's: instructions, attach time, ns per system call. Needs root.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
integration/deps.sh test
cargo build --release --quiet -p seccomp-oracle --bin seccomp-bench
exec target/x86_64-unknown-linux-gnu/release/seccomp-bench "${BENCH_RUNS:-21}"
