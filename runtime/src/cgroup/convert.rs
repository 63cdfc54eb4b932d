//! From the v1 values of config.json to those of cgroup2. The formulas are runc's, so that a container weighs the same
//! under either runtime. And lists of CPUs.

/// cpu.shares (2 to 262144, default 1024) to cpu.weight (1 to 10000, default 100); 0 is "not set".
///
/// The curve is quadratic in the logarithm and meets both ends and the default (opencontainers/cgroups 0.0.5 and later;
/// the linear one before it made 1024 a weight of 39).
pub fn weight_from_shares(shares: u64) -> Option<u64> {
    match shares {
        0 => None,
        1..=2 => Some(1),
        262_144.. => Some(10_000),
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            Some(10f64.powf(exponent).ceil() as u64)
        }
    }
}

/// blkio weight (10 to 1000) to io.weight (1 to 10000), linear; 0 is "not set".
pub fn io_weight_from_blkio(weight: u16) -> Option<u64> {
    (weight != 0).then(|| 1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990)
}

/// memory.swap.max for `memory.swap` (memory and swap together) and `memory.limit`, both bytes, -1 for no limit and 0 for
/// "not set". None: leave it alone; Some(-1): max.
///
/// # Errors
/// What is wrong with the pair, in words.
pub fn swap_max(swap: i64, limit: i64) -> Result<Option<i64>, String> {
    match (swap, limit) {
        // No memory limit and nothing said about swap: none for both.
        (0, -1) => Ok(Some(-1)),
        (0, _) => Ok(None),
        (-1, _) => Ok(Some(-1)),
        (_, -1) => Ok(Some(swap)),
        (_, 0) => Err("a swap limit is memory and swap together, so it needs memory.limit too".into()),
        _ if swap < limit => Err(format!("{swap} is less than memory.limit ({limit}): it is memory and swap together")),
        _ => Ok(Some(swap - limit)),
    }
}

/// `0-2,5` as its numbers (cpuset(7), "List format"); empty parts and blanks are taken, as the kernel takes them.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn parse_ranges(list: &str) -> Result<Vec<u32>, String> {
    /// CONFIG_NR_CPUS is at most 8192 and MAX_NUMNODES 1024 today.
    const MOST: u32 = 65_535;
    let mut all = Vec::new();
    let one = |text: &str| match text.trim().parse::<u32>() {
        Ok(n) if n <= MOST => Ok(n),
        _ => Err(format!("{list:?} is no list such as 0-2,5")),
    };
    for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = match part.split_once('-') {
            // The kernel also takes `0-31:2/16`; runc's systemd driver does not.
            Some((first, last)) => (one(first)?, one(last.split(':').next().unwrap_or(last))?),
            None => (one(part)?, one(part)?),
        };
        if first > last {
            return Err(format!("{list:?}: the range {part} runs backwards"));
        }
        if all.len() + (last - first) as usize > MOST as usize {
            return Err(format!("{list:?} lists more than {MOST} numbers"));
        }
        all.extend(first..=last);
    }
    if all.is_empty() { Err(format!("{list:?} is an empty list")) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_to_weight() {
        // The ends, the default, and points in between from the published table of the formula.
        let table = [
            (0, None),
            (1, Some(1)),
            (2, Some(1)),
            (3, Some(2)),
            (1024, Some(100)),
            (262_143, Some(10_000)),
            (262_144, Some(10_000)),
            (u64::MAX, Some(10_000)),
        ];
        for (shares, weight) in table {
            assert_eq!(weight_from_shares(shares), weight, "{shares}");
        }
        let weights: Vec<u64> = (2..=262_144).step_by(97).filter_map(weight_from_shares).collect();
        assert!(weights.is_sorted(), "more shares never weigh less");
        assert!(weights.iter().all(|w| (1..=10_000).contains(w)));
    }

    #[test]
    fn blkio_to_io() {
        for (blkio, io) in [(0, None), (10, Some(1)), (500, Some(4950)), (1000, Some(10_000))] {
            assert_eq!(io_weight_from_blkio(blkio), io, "{blkio}");
        }
    }

    #[test]
    fn swap() {
        let table = [
            ((0, 0), Ok(None)),
            ((0, 4096), Ok(None)),
            ((0, -1), Ok(Some(-1))),
            ((-1, 4096), Ok(Some(-1))),
            ((-1, 0), Ok(Some(-1))),
            ((8192, -1), Ok(Some(8192))),
            ((8192, 4096), Ok(Some(4096))),
            ((4096, 4096), Ok(Some(0))),
        ];
        for ((swap, limit), expected) in table {
            assert_eq!(swap_max(swap, limit), expected, "{swap} {limit}");
        }
        assert!(swap_max(4096, 0).unwrap_err().contains("needs memory.limit"));
        assert!(swap_max(4096, 8192).unwrap_err().contains("less than memory.limit"));
    }

    #[test]
    fn lists() {
        assert_eq!(parse_ranges("0-2,5").unwrap(), [0, 1, 2, 5]);
        assert_eq!(parse_ranges(" 1 ,, 3-3").unwrap(), [1, 3]);
        for bad in ["", ",", "a", "1-", "-1", "2-1", "1-2-3", "65536", "0-65535,0-65535"] {
            assert!(parse_ranges(bad).is_err(), "{bad:?}");
        }
    }
}
