//! What a container has used, in the shape that `runc events --stats` prints (runc's types/events.go): tools read it.
//! Fields that runc leaves out when they are zero or empty are left out here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// All of it. Times are nanoseconds, sizes bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// CPU time.
    pub cpu: Cpu,
    /// v1 only: the cpuset.
    pub cpuset: CpuSet,
    /// Memory and swap.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
    /// Huge pages, by page size.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// Cache and memory bandwidth; not of the cgroup: whoever prints it adds it.
    pub intel_rdt: crate::rdt::stats::Stats,
    /// For interfaces that the runtime itself made: none.
    pub network_interfaces: Option<Vec<()>>,
}

/// Pressure stall information (Documentation/accounting/psi.rst) of one resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Psi {
    /// At least one task waited.
    #[serde(skip_serializing_if = "zero")]
    pub some: PsiData,
    /// All of them did.
    #[serde(skip_serializing_if = "zero")]
    pub full: PsiData,
}

/// Shares of time in percent over 10, 60 and 300 seconds, and the total in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PsiData {
    /// Percent, 10 s.
    pub avg10: f64,
    /// Percent, 60 s.
    pub avg60: f64,
    /// Percent, 300 s.
    pub avg300: f64,
    /// Microseconds.
    pub total: u64,
}

/// `cpu`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// Time used.
    #[serde(skip_serializing_if = "zero")]
    pub usage: CpuUsage,
    /// How the quota held it back.
    #[serde(skip_serializing_if = "zero")]
    pub throttling: Throttling,
    /// Pressure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// `cpu.usage`, nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    /// All.
    #[serde(skip_serializing_if = "zero")]
    pub total: u64,
    /// By CPU (v1).
    #[serde(skip_serializing_if = "zero")]
    pub percpu: Vec<u64>,
    /// By CPU, in the kernel (v1).
    #[serde(skip_serializing_if = "zero")]
    pub percpu_kernel: Vec<u64>,
    /// By CPU, in user space (v1).
    #[serde(skip_serializing_if = "zero")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In user space.
    pub user: u64,
}

/// `cpu.throttling`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Throttling {
    /// Periods that passed.
    #[serde(skip_serializing_if = "zero")]
    pub periods: u64,
    /// Periods in which the quota was used up.
    #[serde(skip_serializing_if = "zero")]
    pub throttled_periods: u64,
    /// Time spent waiting for the next, nanoseconds.
    #[serde(skip_serializing_if = "zero")]
    pub throttled_time: u64,
}

/// `cpuset` (v1; cpuset(7)).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the files")]
pub struct CpuSet {
    #[serde(skip_serializing_if = "zero")]
    pub cpus: Vec<u32>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "zero")]
    pub mems: Vec<u32>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// `memory`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Page cache.
    #[serde(skip_serializing_if = "zero")]
    pub cache: u64,
    /// Memory.
    #[serde(skip_serializing_if = "zero")]
    pub usage: MemoryEntry,
    /// Memory and swap together, on both hierarchies.
    #[serde(skip_serializing_if = "zero")]
    pub swap: MemoryEntry,
    /// Of the kernel (v1).
    #[serde(skip_serializing_if = "zero")]
    pub kernel: MemoryEntry,
    /// Of its TCP buffers (v1).
    #[serde(rename = "kernelTCP", skip_serializing_if = "zero")]
    pub kernel_tcp: MemoryEntry,
    /// memory.stat as it is.
    #[serde(skip_serializing_if = "zero")]
    pub raw: BTreeMap<String, u64>,
    /// Pressure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One kind of memory, bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryEntry {
    /// `u64::MAX` (v2) or nearly `i64::MAX` (v1): none.
    pub limit: u64,
    /// Now.
    #[serde(skip_serializing_if = "zero")]
    pub usage: u64,
    /// At most so far.
    #[serde(skip_serializing_if = "zero")]
    pub max: u64,
    /// How often the limit was hit (v1).
    pub failcnt: u64,
}

/// `pids`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pids {
    /// Now.
    #[serde(skip_serializing_if = "zero")]
    pub current: u64,
    /// 0: none.
    #[serde(skip_serializing_if = "zero")]
    pub limit: u64,
}

/// `blkio`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the v1 files")]
pub struct Blkio {
    #[serde(skip_serializing_if = "zero")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "zero")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "zero")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "zero")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "zero")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "zero")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "zero")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "zero")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One number of one block device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioEntry {
    /// Major number.
    #[serde(skip_serializing_if = "zero")]
    pub major: u64,
    /// Minor number.
    #[serde(skip_serializing_if = "zero")]
    pub minor: u64,
    /// `Read`, `Write` ...
    #[serde(skip_serializing_if = "zero")]
    pub op: String,
    /// Bytes, operations or nanoseconds.
    #[serde(skip_serializing_if = "zero")]
    pub value: u64,
}

/// One page size of `hugetlb`, bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hugetlb {
    /// Now.
    #[serde(skip_serializing_if = "zero")]
    pub usage: u64,
    /// At most so far (v1).
    #[serde(skip_serializing_if = "zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_ones_look_as_runc_s() {
        // What `json.Marshal(types.Stats{Hugetlb: map...{}})` gives, but for the order of the fields.
        let expected = r#"{"cpu":{},"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},"memory":{},"pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"network_interfaces":null}"#;
        assert_eq!(serde_json::to_string(&Stats::default()).unwrap(), expected);
    }

    #[test]
    fn filled_ones_too() {
        let mut s = Stats::default();
        s.cpu.usage.total = 5;
        s.cpu.throttling.throttled_periods = 1;
        s.memory.usage = MemoryEntry { limit: 9, usage: 3, max: 4, failcnt: 0 };
        s.memory.raw.insert("anon".into(), 2);
        s.memory.psi = Some(Psi { some: PsiData { avg10: 1.5, ..PsiData::default() }, full: PsiData::default() });
        s.blkio.io_service_bytes_recursive.push(BlkioEntry { major: 8, minor: 0, op: "Read".into(), value: 7 });
        s.hugetlb.insert("2MB".into(), Hugetlb::default());
        let json = serde_json::to_value(&s).unwrap();
        assert_eq!(json["cpu"]["usage"], serde_json::json!({"total":5,"kernel":0,"user":0}));
        assert_eq!(json["cpu"]["throttling"], serde_json::json!({"throttledPeriods":1}));
        assert_eq!(json["memory"]["usage"], serde_json::json!({"limit":9,"usage":3,"max":4,"failcnt":0}));
        assert_eq!(json["memory"]["psi"], serde_json::json!({"some":{"avg10":1.5,"avg60":0.0,"avg300":0.0,"total":0}}));
        assert_eq!(json["blkio"]["ioServiceBytesRecursive"], serde_json::json!([{"major":8,"op":"Read","value":7}]));
        assert_eq!(json["hugetlb"], serde_json::json!({"2MB":{"failcnt":0}}));
    }
}
