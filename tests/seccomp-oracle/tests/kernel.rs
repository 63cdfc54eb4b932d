//! The filters on the running kernel. As root.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use seccomp_oracle::calls as sys;
use serde_json::{Value, json};

/// A file that is gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(kind: &str) -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rrun-seccomp-{}-{}.{kind}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Scratch(std::env::temp_dir().join(name))
    }

    fn profile(section: &Value) -> Scratch {
        let file = Scratch::new("json");
        std::fs::write(&file.0, section.to_string()).expect("temporary directory");
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn guest(profile: &Scratch, steps: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seccomp-guest"));
    command.arg(&profile.0).args(steps);
    command
}

fn run(section: Value, steps: &[&str]) -> Output {
    guest(&Scratch::profile(&section), steps).output().expect("the guest starts")
}

fn lines(output: &Output) -> Vec<&str> {
    assert!(output.status.success(), "{output:?}");
    std::str::from_utf8(&output.stdout).expect("text").lines().collect()
}

/// Everything allowed but for one rule for `swapoff` (168), which root would get EFAULT or ENOENT for.
fn one(action: &str, errno: Option<u32>) -> Value {
    let mut rule = json!({"names": ["swapoff"], "action": action});
    if let Some(errno) = errno {
        rule["errnoRet"] = errno.into();
    }
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
}

const SWAPOFF: &str = "call:168";

#[test]
fn errno_allow_and_log() {
    assert_eq!(lines(&run(one("SCMP_ACT_ERRNO", None), &[SWAPOFF])), ["errno 1"]);
    assert_eq!(lines(&run(one("SCMP_ACT_ERRNO", Some(77)), &[SWAPOFF])), ["errno 77"]);
    assert_eq!(lines(&run(one("SCMP_ACT_ERRNO", Some(4095)), &[SWAPOFF])), ["errno 4095"]);
    assert_eq!(lines(&run(one("SCMP_ACT_LOG", None), &[SWAPOFF])), ["errno 14"], "the kernel's own: no address");
    assert_eq!(lines(&run(one("SCMP_ACT_ERRNO", None), &["call:39"])), ["ok"], "getpid");
}

#[test]
fn kills() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let output = run(one(action, None), &["call:39", SWAPOFF, "call:39"]);
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{action}");
        assert_eq!(output.stdout, b"ok\n", "{action}");
    }
    // Of a thread, and of all.
    assert_eq!(lines(&run(one("SCMP_ACT_KILL", None), &["thread:168", "call:39"])), ["gone", "ok"]);
    let output = run(one("SCMP_ACT_KILL_PROCESS", None), &["thread:168", "call:39"]);
    assert_eq!((output.status.signal(), output.stdout.len()), (Some(libc::SIGSYS), 0));
}

#[test]
fn trap_can_be_caught() {
    let output = run(one("SCMP_ACT_TRAP", None), &["catch", SWAPOFF]);
    assert!(lines(&output)[0].ends_with("trapped 1"), "{output:?}");
}

#[test]
fn trace_tells_the_tracer_its_number() {
    let profile = Scratch::profile(&one("SCMP_ACT_TRACE", Some(0xabcd)));
    assert_eq!(lines(&guest(&profile, &[SWAPOFF]).output().unwrap()), ["errno 38"], "nobody traces: ENOSYS");
    let seen = sys::trace(guest(&profile, &["call:39", SWAPOFF, SWAPOFF]).stdout(std::process::Stdio::null())).unwrap();
    assert_eq!(seen, [0xabcd, 0xabcd]);
}

#[test]
fn loads_without_no_new_privs_as_root_only() {
    let profile = Scratch::profile(&one("SCMP_ACT_ERRNO", None));
    let output = guest(&profile, &["status"]).output().unwrap();
    assert_eq!(lines(&output), ["NoNewPrivs:0 Seccomp:2"]);
    let output = guest(&profile, &["status"]).uid(65534).output().unwrap();
    assert_eq!(lines(&output), ["load: 13"], "EACCES");
}

#[test]
fn notify_reaches_the_agent() {
    let socket = Scratch::new("sock");
    let agent = UnixListener::bind(&socket.0).unwrap();
    let path = socket.0.to_str().unwrap();
    let section = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "listenerPath": path, "listenerMetadata": "who=me",
        "syscalls": [{"names": ["swapoff"], "action": "SCMP_ACT_NOTIFY"}],
    });
    let profile = Scratch::profile(&section);
    let child = guest(&profile, &[&format!("agent:{path}:168:42")]).stdout(std::process::Stdio::piped()).spawn().unwrap();

    let (stream, _) = agent.accept().unwrap();
    let (bytes, listener) = sys::receive(&stream).unwrap();
    let state: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["pid"], child.id());
    assert_eq!(state["metadata"], "who=me");
    assert_eq!(state["ociVersion"], "1.3.0");
    assert_eq!(state["state"]["status"], "creating");
    assert_eq!(sys::answer(listener.expect("seccompFd").as_fd(), 55).unwrap(), (168, 42));
    assert_eq!(lines(&child.wait_with_output().unwrap()), ["errno 55"]);
}

#[test]
fn an_agent_that_is_not_there_is_an_error() {
    let path = Scratch::new("sock");
    let file = std::fs::File::open("/dev/null").unwrap();
    let e = rrun::seccomp::send_listener(path.0.to_str().unwrap(), "", "1.3.0", 1, &json!({}), file.as_fd()).unwrap_err();
    let text = e.to_string();
    assert!(
        text.starts_with("linux.seccomp.listenerPath: connect(\"/tmp/") && text.contains("no such file or directory"),
        "{text}"
    );
    let e = rrun::seccomp::send_listener(&"x".repeat(200), "", "1.3.0", 1, &json!({}), file.as_fd()).unwrap_err();
    assert!(e.to_string().contains("name too long"), "{e}");
}

#[test]
fn other_abis() {
    let section = |archs: Value| {
        let rule = json!({"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77});
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": archs, "syscalls": [rule]})
    };
    // x32's getpid: bit 30. The filter answers before the kernel looks for the call.
    let x32 = "call:0x40000027";
    assert_eq!(run(section(json!([])), &[x32]).status.signal(), Some(libc::SIGSYS), "not listed");
    assert_eq!(lines(&run(section(json!(["SCMP_ARCH_X32"])), &[x32])), ["errno 77"]);
    // i386's getpid is 20; a kernel without 32-bit programs has no int 0x80 and sends SIGSEGV before any filter.
    let unfiltered = run(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"]}), &["i386:20"]);
    let i386 = unfiltered.status.success();
    let listed = run(section(json!(["SCMP_ARCH_X86"])), &["i386:20"]);
    let unlisted = run(section(json!([])), &["i386:20"]);
    if i386 {
        assert_eq!(lines(&listed), ["-77"]);
        assert_eq!(unlisted.status.signal(), Some(libc::SIGSYS));
    } else {
        assert_eq!((listed.status.signal(), unlisted.status.signal()), (Some(libc::SIGSEGV), Some(libc::SIGSEGV)));
    }
}

#[test]
fn docker_default_lets_programs_run() {
    let section = serde_json::to_value(seccomp_oracle::docker_default()).unwrap();
    let steps = [
        "spawn",                   // clone without namespaces, execve, wait
        "thread:39",               // clone3 answers ENOSYS: libc falls back
        "call:272:0x10000000",     // unshare(CLONE_NEWUSER)
        "call:56:0x10000000",      // clone(CLONE_NEWUSER)
        "call:435",                // clone3
        "call:41:40:1:0",          // socket(AF_VSOCK)
        "call:41:1:1:0",           // socket(AF_UNIX)
        "call:41:0x100000028:1:0", // high word: not AF_VSOCK for the filter, EAFNOSUPPORT or AF_VSOCK for the kernel
        "call:135:0xffffffff",     // personality: ask
        "call:135:0x40000",        // personality: ADDR_NO_RANDOMIZE
        "call:165",                // mount
        "call:999",                // no kernel has it
        "call:0x40000001",         // x32's write: listed, the kernel lacks x32 or the descriptor is 0
    ];
    let output = run(section, &steps);
    let said = lines(&output);
    let right = ["exit status: 0", "ok", "errno 1", "errno 1", "errno 38", "errno 1", "ok"];
    assert_eq!(said[..7], right, "{said:?}");
    assert_ne!(said[7], "errno 1", "{said:?}");
    assert_eq!(said[8..12], ["ok", "errno 1", "errno 1", "errno 38"], "{said:?}");
}

#[test]
fn the_kernel_takes_long_programs_with_long_jumps() {
    let names: Vec<String> = (0..460).filter_map(|n| libseccomp::ScmpSyscall::from(n).get_name().ok()).collect();
    let rule = |(i, name): (usize, &String)| {
        json!({"names": [name], "action": "SCMP_ACT_ERRNO",
               "args": [{"index": 5, "op": "SCMP_CMP_EQ", "value": 0xdead_beef_0000_0000_u64 + i as u64}]})
    };
    let rules: Vec<Value> = names.iter().enumerate().map(rule).collect();
    let last = libseccomp::ScmpSyscall::from_name(names.last().unwrap()).unwrap().as_raw_syscall();
    let section = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    let hit = format!("call:{last}:0:0:0:0:0:{:#x}", 0xdead_beef_0000_0000_u64 + names.len() as u64 - 1);
    let first = format!("call:0:0xffffffff:0:0:0:0:{:#x}", 0xdead_beef_0000_0000_u64);
    let miss = format!("call:0:0xffffffff:0:0:0:0:{:#x}", 0xdead_beef_0000_0001_u64);
    assert_eq!(lines(&run(section, &[&hit, &first, &miss])), ["errno 1", "errno 1", "errno 9"], "EPERM, EPERM, EBADF");
}
