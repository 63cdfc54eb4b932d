//! `linux.seccomp` (config-linux.md#seccomp), field by field.

use serde::{Deserialize, Serialize};

use super::config::null_default;

/// `linux.seccomp`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    /// Action for system calls that no rule matches: `SCMP_ACT_*`.
    pub default_action: String,
    /// errno of a default `SCMP_ACT_ERRNO` or `SCMP_ACT_TRACE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// `SCMP_ARCH_*`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_*`. Absent is not empty: then the runtime chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<String>>,
    /// Unix socket of the agent that is sent the notification descriptor.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub listener_path: String,
    /// Opaque text for that agent.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub listener_metadata: String,
    /// The rules.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<SyscallRule>,
}

/// One of `linux.seccomp.syscalls`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallRule {
    /// System calls by name.
    pub names: Vec<String>,
    /// `SCMP_ACT_*`.
    pub action: String,
    /// errno of `SCMP_ACT_ERRNO` or `SCMP_ACT_TRACE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// All must match.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<ArgRule>,
}

/// A condition on one argument.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArgRule {
    /// Which argument, 0 to 5.
    pub index: u32,
    /// Value compared with (for `SCMP_CMP_MASKED_EQ`: the mask).
    pub value: u64,
    /// Second value (for `SCMP_CMP_MASKED_EQ`: the value).
    #[serde(default, deserialize_with = "null_default")]
    pub value_two: u64,
    /// `SCMP_CMP_*`.
    pub op: String,
}
