//! What `events` shows of it, in runc's shape (its types/events.go).

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{FIELD, Group, path_text};
use crate::cgroup::file::read as read_file;
use crate::error::{Context as _, Result};

fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// All of it; without `linux.intelRdt` empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Of the machine's cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    /// Line of the default class.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    /// Line of the container's class.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    /// Of the machine's memory bandwidth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<BandwidthInfo>,
    /// Line of the default class.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    /// Line of the container's class.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// All lines of the container's class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// Memory bandwidth used, for each domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<Bandwidth>>,
    /// Cache used, for each domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<Occupancy>>,
}

/// `info/L3`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheInfo {
    /// All bits that a mask may have.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cbm_mask: String,
    /// Fewest bits of a mask.
    #[serde(skip_serializing_if = "zero")]
    pub min_cbm_bits: u64,
    /// How many classes there can be.
    #[serde(skip_serializing_if = "zero")]
    pub num_closids: u64,
}

/// `info/MB`; percents, or MB/s where the software controller is on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BandwidthInfo {
    /// Step.
    #[serde(skip_serializing_if = "zero")]
    pub bandwidth_gran: u64,
    /// Is the delay linear?
    #[serde(skip_serializing_if = "zero")]
    pub delay_linear: u64,
    /// Least share.
    #[serde(skip_serializing_if = "zero")]
    pub min_bandwidth: u64,
    /// How many classes there can be.
    #[serde(skip_serializing_if = "zero")]
    pub num_closids: u64,
}

/// Bytes moved so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// To all memory.
    pub mbm_total_bytes: u64,
    /// To the domain's own memory.
    pub mbm_local_bytes: u64,
}

/// Bytes of cache in use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Occupancy {
    /// Of the last-level cache.
    pub llc_occupancy: u64,
}

impl Group {
    /// Reads what the class has and uses. Without a monitoring group of the container's own the use is that of the whole class.
    ///
    /// # Errors
    /// The class is gone, or cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let read = |path: &Path| read_file(&path_text(path)).at(FIELD, || format!("read({path:?})"));
        let number = |path: &Path| read_file(&path_text(path)).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0);
        let info = self.root.join("info");
        let here = lines(&read(&self.path.join("schemata"))?);
        let root = lines(&read(&self.root.join("schemata"))?);
        let line = |all: &[String], resource: &str| all.iter().find(|l| l.starts_with(resource)).cloned().unwrap_or_default();
        let mut stats = Stats { schemata: here.clone(), ..Stats::default() };
        if let Ok(mask) = read_file(&path_text(&info.join("L3/cbm_mask"))) {
            let dir = info.join("L3");
            stats.l3_cache_info = Some(CacheInfo {
                cbm_mask: mask.trim().to_owned(),
                min_cbm_bits: number(&dir.join("min_cbm_bits")),
                num_closids: number(&dir.join("num_closids")),
            });
            (stats.l3_cache_schema, stats.l3_cache_schema_root) = (line(&here, "L3"), line(&root, "L3"));
        }
        let dir = info.join("MB");
        if dir.is_dir() {
            stats.mem_bw_info = Some(BandwidthInfo {
                bandwidth_gran: number(&dir.join("bandwidth_gran")),
                delay_linear: number(&dir.join("delay_linear")),
                min_bandwidth: number(&dir.join("min_bandwidth")),
                num_closids: number(&dir.join("num_closids")),
            });
            (stats.mem_bw_schema, stats.mem_bw_schema_root) = (line(&here, "MB"), line(&root, "MB"));
        }
        if let Ok(features) = read_file(&path_text(&info.join("L3_MON/mon_features"))) {
            self.monitored(&features, &number, &mut stats)?;
        }
        Ok(stats)
    }

    fn monitored(&self, features: &str, number: &dyn Fn(&Path) -> u64, stats: &mut Stats) -> Result<()> {
        let data = self.monitor.as_ref().unwrap_or(&self.path).join("mon_data");
        let mut domains = Vec::new();
        for entry in std::fs::read_dir(&data).at(FIELD, || format!("getdents({data:?})"))? {
            domains.push(entry.at(FIELD, || format!("getdents({data:?})"))?.path());
        }
        domains.sort();
        let has = |feature: &str| features.lines().any(|l| l.trim() == feature);
        if has("mbm_total_bytes") || has("mbm_local_bytes") {
            let used = |dir: &std::path::PathBuf| Bandwidth {
                mbm_total_bytes: number(&dir.join("mbm_total_bytes")),
                mbm_local_bytes: number(&dir.join("mbm_local_bytes")),
            };
            stats.mbm_stats = Some(domains.iter().map(used).collect());
        }
        if has("llc_occupancy") {
            let used = |dir: &std::path::PathBuf| Occupancy { llc_occupancy: number(&dir.join("llc_occupancy")) };
            stats.cmt_stats = Some(domains.iter().map(used).collect());
        }
        Ok(())
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect()
}
