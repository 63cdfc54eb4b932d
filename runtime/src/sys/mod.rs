//! System calls that rustix lacks. The only `unsafe` outside of init.

pub mod bpf;
