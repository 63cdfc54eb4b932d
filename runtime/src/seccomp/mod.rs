//! From `linux.seccomp` to a BPF program.
