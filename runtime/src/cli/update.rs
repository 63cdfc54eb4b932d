//! `rrun update`.

use std::fs::File;
use std::io::Read;

use super::args::{Args, Command, Example, Flag, Operand};
use super::{Globals, quantity};
use crate::container::Container;
use crate::error::{Context, Error, Result};
use crate::spec::Resources;
use crate::spec::resources::{BlockIo, Cpu, Memory, Pids};

/// Bytes of `--resources` that are read at most.
const LARGEST: u64 = 1 << 20;

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "update",
    summary: "change the limits of a container",
    about: "What is not named stays as it is. Either all comes from --resources, which has the form of the config's\n\
            linux.resources, or from the other flags. Amounts of memory may have a unit, such as 512m or 1.5g.",
    flags: &[
        Flag::text("resources", "FILE|-", "take the limits from this JSON file, or from stdin").short('r'),
        Flag::text("memory", "BYTES", "memory limit; -1: none"),
        Flag::text("memory-reservation", "BYTES", "memory that is protected from others when it is scarce"),
        Flag::text("memory-swap", "BYTES", "limit of memory and swap together; -1: no limit of swap"),
        Flag::number("cpu-period", "USEC", "length of a period for --cpu-quota; 0: the kernel's default"),
        Flag::number("cpu-quota", "USEC", "CPU time in each period; -1: no limit"),
        Flag::number("cpu-burst", "USEC", "unused CPU time that may be saved up for later periods"),
        Flag::number("cpu-share", "N", "weight against other cgroups, 2 to 262144"),
        Flag::number("cpu-rt-period", "USEC", "period of realtime scheduling (cgroup v1)"),
        Flag::number("cpu-rt-runtime", "USEC", "realtime CPU time in each period (cgroup v1)"),
        Flag::number("cpu-idle", "0|1", "1: run only when nothing else wants to"),
        Flag::text("cpuset-cpus", "LIST", "CPUs to run on, such as 0-3,7"),
        Flag::text("cpuset-mems", "LIST", "memory nodes to use"),
        Flag::number("blkio-weight", "N", "weight of block I/O, 10 to 1000"),
        Flag::number("pids-limit", "N", "most processes; -1: no limit"),
        Flag::text("l3-cache-schema", "LINE", "Intel RDT: shares of the cache, such as L3:0=ff"),
        Flag::text("mem-bw-schema", "LINE", "Intel RDT: memory bandwidth, such as MB:0=50"),
        Flag::text("kernel-memory", "BYTES", "gone from the kernel").hidden(),
        Flag::text("kernel-memory-tcp", "BYTES", "cgroup v1").hidden(),
    ],
    operands: &[Operand::Container],
    least: 1,
    most: 1,
    examples: &[
        Example { line: "rrun update --memory 512m --pids-limit 100 web", does: "two limits" },
        Example { line: "rrun update --cpu-quota 50000 --cpu-period 100000 web", does: "half a CPU" },
        Example { line: "rrun update --resources - web", does: "from stdin, such as {\"cpu\": {\"shares\": 512}}" },
    ],
    ..Command::EMPTY
};

/// Changes the limits.
///
/// # Errors
/// If there is no such container, it has stopped, or a limit is wrong or cannot be applied.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    let from_flags = from_flags(args)?;
    let resources = match args.text("resources") {
        None => from_flags,
        Some(_) if from_flags != Resources::default() => {
            return Err(Error::config("--resources", "takes the place of the other flags: give either"));
        }
        Some("-") => parse(&read("stdin", std::io::stdin())?)?,
        Some(path) => {
            let file = File::open(path).at("--resources", || format!("open({path:?})"))?;
            parse(&read(path, file)?)?
        }
    };
    let container = Container::load(&globals.root, args.first())?;
    let (l3_cache, bandwidth) = (args.text("l3-cache-schema"), args.text("mem-bw-schema"));
    if l3_cache.is_some() || bandwidth.is_some() {
        container.update_rdt(l3_cache, bandwidth)?;
    }
    for warning in container.update(&resources)? {
        globals.log.warn(&warning);
    }
    Ok(0)
}

fn read(name: &str, from: impl Read) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut text).at("--resources", || format!("read({name:?})"))?;
    if text.len() as u64 > LARGEST {
        return Err(Error::config("--resources", format!("{name} has more than {LARGEST} bytes")));
    }
    Ok(text)
}

fn parse(text: &[u8]) -> Result<Resources> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let resources = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let path = e.path().to_string();
        let field = if path == "." { "--resources".to_string() } else { format!("--resources: {path}") };
        Error::config(field, e.into_inner().to_string())
    })?;
    reader.end().map_err(|e| Error::config("--resources", e.to_string()))?;
    Ok(resources)
}

fn from_flags(args: &Args) -> Result<Resources> {
    let cpu = Cpu {
        shares: unsigned(args, "cpu-share")?,
        quota: args.number("cpu-quota"),
        burst: unsigned(args, "cpu-burst")?,
        period: unsigned(args, "cpu-period")?,
        realtime_runtime: args.number("cpu-rt-runtime"),
        realtime_period: unsigned(args, "cpu-rt-period")?,
        cpus: args.text("cpuset-cpus").map(str::to_string),
        mems: args.text("cpuset-mems").map(str::to_string),
        idle: args.number("cpu-idle"),
    };
    let memory = Memory {
        limit: memory(args, "memory")?,
        reservation: memory(args, "memory-reservation")?,
        swap: memory(args, "memory-swap")?,
        kernel: memory(args, "kernel-memory")?,
        kernel_tcp: memory(args, "kernel-memory-tcp")?,
        ..Memory::default()
    };
    // As in runc, where 0 cannot be told from absent.
    let weight = unsigned(args, "blkio-weight")?.filter(|w| *w != 0);
    let weight = weight.map(|w| u16::try_from(w).map_err(|_| wrong("blkio-weight", w, "10 to 1000"))).transpose()?;
    Ok(Resources {
        cpu: present(cpu),
        memory: present(memory),
        block_io: weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        pids: args.number("pids-limit").map(|limit| Pids { limit: Some(limit) }),
        ..Resources::default()
    })
}

fn present<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn wrong(flag: &str, value: impl std::fmt::Display, right: &str) -> Error {
    Error::config(format!("--{flag}"), format!("{value} is out of range; give {right}"))
}

fn unsigned(args: &Args, flag: &str) -> Result<Option<u64>> {
    args.number(flag).map(|n| u64::try_from(n).map_err(|_| wrong(flag, n, "0 or more"))).transpose()
}

fn memory(args: &Args, flag: &str) -> Result<Option<i64>> {
    let amount = |text: &str| {
        let problem =
            || Error::config(format!("--{flag}"), format!("{text:?} is no amount of memory; give bytes, 512m, 1.5g or -1"));
        if text == "-1" { Ok(-1) } else { quantity::bytes(text).ok_or_else(problem) }
    };
    args.text(flag).map(amount).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::GLOBALS;

    fn flags(line: &str) -> Result<Resources> {
        let words: Vec<String> = format!("{line} web").split_whitespace().map(str::to_string).collect();
        from_flags(&crate::cli::args::parse(&COMMAND, &GLOBALS, &words)?)
    }

    #[test]
    fn every_flag_reaches_its_field() {
        let got = flags(
            "--memory 1m --memory-reservation 512k --memory-swap -1 --kernel-memory 1 --kernel-memory-tcp 2 --cpu-period 3 \
             --cpu-quota -1 --cpu-burst 4 --cpu-share 5 --cpu-rt-period 6 --cpu-rt-runtime 7 --cpu-idle 1 --cpuset-cpus 0-1 \
             --cpuset-mems 0 --blkio-weight 500 --pids-limit -1",
        );
        let json = serde_json::json!({
            "memory": {"limit": 1048576, "reservation": 524288, "swap": -1, "kernel": 1, "kernelTCP": 2},
            "cpu": {"period": 3, "quota": -1, "burst": 4, "shares": 5, "realtimePeriod": 6, "realtimeRuntime": 7, "idle": 1,
                "cpus": "0-1", "mems": "0"},
            "blockIO": {"weight": 500},
            "pids": {"limit": -1},
        });
        assert_eq!(serde_json::to_value(got.unwrap()).unwrap(), json);
        assert_eq!(flags("").unwrap(), Resources::default());
        assert_eq!(flags("--blkio-weight 0").unwrap(), Resources::default());
        assert_eq!(flags("--memory 0").unwrap().memory.unwrap().limit, Some(0));
    }

    #[test]
    fn wrong_amounts_are_named() {
        let message = |line: &str| flags(line).unwrap_err().to_string();
        assert!(message("--memory lots").starts_with("--memory: \"lots\" is no amount of memory"));
        assert!(message("--memory -2").starts_with("--memory: \"-2\""));
        assert_eq!(message("--cpu-period -1"), "--cpu-period: -1 is out of range; give 0 or more");
        assert!(message("--blkio-weight 70000").starts_with("--blkio-weight: 70000 is out of range"));
        assert!(message("--cpu-quota 99999999999999999999").contains("not a whole number"));
    }

    #[test]
    fn json_is_checked_with_its_place() {
        assert_eq!(parse(b"{\"pids\": {\"limit\": 5}, \"x\": 1}").unwrap().pids.unwrap().limit, Some(5));
        let message = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        assert!(message("{\"memory\": {\"limit\": \"x\"}}").starts_with("--resources: memory.limit: invalid type: string"));
        assert!(message("").starts_with("--resources: EOF"));
        assert!(message("{} {}").starts_with("--resources: trailing characters"));
        assert!(read("x", &vec![b' '; LARGEST as usize + 1][..]).is_err());
    }
}
