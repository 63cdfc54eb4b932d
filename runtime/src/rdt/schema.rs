//! Lines of a `schemata` file (Documentation/filesystems/resctrl.rst): `L3:0=ff;1=f0`, `MB:0=50`.

/// In which steps the kernel gives memory bandwidth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    /// `info/MB/bandwidth_gran`.
    pub(super) granularity: u64,
    /// `info/MB/min_bandwidth`.
    pub(super) least: u64,
}

/// Does a `schemata` file say what `line` asks for? Domains that the line leaves out may be anything.
pub(super) fn holds(schemata: &str, line: &str, steps: Steps) -> bool {
    let Some((resource, wanted)) = parse(line) else { return false };
    let Some((_, there)) = schemata.lines().filter_map(parse).find(|(r, _)| *r == resource) else { return false };
    wanted.iter().all(|(domain, value)| {
        let Some((_, now)) = there.iter().find(|(d, _)| d == domain) else { return false };
        now == value || (resource == "MB" && rounded(value, steps) == now.parse().ok())
    })
}

/// Up to the next step, as the kernel does it.
fn rounded(value: &str, steps: Steps) -> Option<u64> {
    let value: u64 = value.parse().ok()?;
    Some(value.max(steps.least).next_multiple_of(steps.granularity.max(1)))
}

/// Resource, and value by domain. Masks are made comparable: small letters, no zeros in front.
fn parse(line: &str) -> Option<(&str, Vec<(&str, String)>)> {
    let (resource, rest) = line.trim().split_once(':')?;
    let pairs = rest.split(';').filter(|p| !p.trim().is_empty()).map(|pair| {
        let (domain, value) = pair.split_once('=')?;
        let value = value.trim().to_ascii_lowercase();
        let plain = value.trim_start_matches("0x").trim_start_matches('0');
        Some((domain.trim(), if plain.is_empty() { "0".to_owned() } else { plain.to_owned() }))
    });
    Some((resource.trim(), pairs.collect::<Option<Vec<_>>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared_by_what_they_mean() {
        let steps = Steps { granularity: 10, least: 10 };
        let there = "    MB:0=100;1= 30\n    L3:0=007ff;1=001f\n";
        for same in ["L3:0=7ff;1=1f", "L3:1=1F;0=0x7FF", "L3:0=7ff", "MB:0=100", "MB:1=21", "MB:1=30;0=95"] {
            assert!(holds(there, same, steps), "{same}");
        }
        for other in ["L3:0=7fe", "L3:2=1", "MB:1=20", "MB:1=31", "L2:0=1", "L3", "L3:0"] {
            assert!(!holds(there, other, steps), "{other}");
        }
        assert!(holds("MB:0=10", "MB:0=3", steps), "the least there is");
    }
}
