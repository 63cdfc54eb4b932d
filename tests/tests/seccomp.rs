//! Seccomp profiles as seen by programs: each action, arguments, flags, loading without no_new_privs, exec.

use rrun_tests::{Bundle, Runtime};
use serde_json::{Value, json};

fn profile(default: &str, rules: Value) -> Value {
    json!({"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": rules})
}

#[test]
fn errno_is_the_configured_one() {
    let rt = Runtime::new();
    // 28 is ENOSPC: nothing else would give that for a mkdir in an empty directory.
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]);
    let output = rt.run(&Bundle::sh("mkdir /tmp/x; echo $?").set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule)));
    assert_eq!(output.ok(), "1");
    assert!(output.err.contains("No space left"), "{output:?}");
    // Without errnoRet it is EPERM.
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]);
    let output = rt.run(&Bundle::sh("mkdir /tmp/x; echo $?").set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule)));
    assert!(output.err.contains("not permitted"), "{output:?}");
}

#[test]
fn the_mode_is_filter_with_a_profile_and_none_without() {
    let rt = Runtime::new();
    let show = || Bundle::sh("grep -E '^Seccomp:' /proc/self/status | cut -f2");
    assert_eq!(rt.run(&show()).ok(), "0");
    assert_eq!(
        rt.run(
            &show().set("/linux/seccomp", profile("SCMP_ACT_ALLOW", json!([{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}])))
        )
        .ok(),
        "2"
    );
}

#[test]
fn arguments_decide() {
    let rt = Runtime::new();
    // kill(pid, sig): signal 10 is refused, others are not.
    let rule = json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}]);
    let bundle = Bundle::sh("trap : USR2; kill -10 $$ 2>&1; kill -12 $$ && echo sent")
        .set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule));
    let output = rt.run(&bundle);
    assert!(output.out.contains("Input/output error") || output.out.contains("I/O error"), "{output:?}");
    assert!(output.out.contains("sent"));
    let rule = json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [{"index": 1, "value": 8, "valueTwo": 8, "op": "SCMP_CMP_MASKED_EQ"}]}]);
    let bundle = Bundle::sh(
        "trap : USR1 USR2; kill -12 $$ 2>/dev/null || echo 12 refused; kill -3 $$ 2>/dev/null; kill -10 $$ 2>/dev/null || echo 10 refused; kill -18 $$ && echo 18 sent",
    );
    assert_eq!(rt.run(&bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule))).ok(), "12 refused\n10 refused\n18 sent");
}

#[test]
fn kill_process_ends_with_sigsys() {
    let rt = Runtime::new();
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"] {
        let rule = json!([{"names": ["mkdir", "mkdirat"], "action": action}]);
        let bundle = Bundle::sh("mkdir /tmp/x; echo $?").set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule));
        assert_eq!(rt.run(&bundle).ok(), (128 + 31).to_string(), "{action}");
    }
}

#[test]
fn log_and_allow_let_through() {
    let rt = Runtime::new();
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_LOG"}]);
    assert_eq!(
        rt.run(&Bundle::sh("mkdir /tmp/x && echo made").set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule))).ok(),
        "made"
    );
}

#[test]
fn a_filter_is_loaded_without_no_new_privs_too() {
    let rt = Runtime::new();
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]);
    let bundle = Bundle::sh(
        "mkdir /tmp/x 2>/dev/null || echo refused; grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | cut -f2 | tr '\\n' ' '",
    );
    let bundle = bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule)).set("/process/noNewPrivileges", false);
    assert_eq!(rt.run(&bundle).ok(), "refused\n0 2");
}

#[test]
fn a_filter_for_a_user_without_capabilities() {
    let rt = Runtime::new();
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]);
    for no_new_privs in [false, true] {
        let bundle = Bundle::sh("mkdir /tmp/x 2>/dev/null || echo refused; id -u")
            .set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule.clone()));
        let bundle = bundle
            .set("/process/noNewPrivileges", no_new_privs)
            .set("/process/user", json!({"uid": 1000, "gid": 1000}))
            .without("/process/capabilities");
        assert_eq!(rt.run(&bundle).ok(), "refused\n1000");
    }
}

#[test]
fn exec_gets_the_filter() {
    let rt = Runtime::new();
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]);
    let bundle = Bundle::sleeper().set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule));
    rt.run_detached(&bundle);
    assert_eq!(rt.exec_sh(&bundle.id, "mkdir /tmp/x 2>/dev/null || echo refused").ok(), "refused");
}

#[test]
fn unknown_system_calls_are_skipped_and_unknown_actions_refused() {
    let rt = Runtime::new();
    let rule = json!([{"names": ["not_a_call_of_any_kernel", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]);
    assert_eq!(
        rt.run(&Bundle::sh("mkdir /tmp/x 2>/dev/null || echo refused").set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule)))
            .ok(),
        "refused"
    );
    let bundle = Bundle::sh("true").set("/linux/seccomp", profile("SCMP_ACT_DANCE", json!([])));
    rt.run(&bundle).fails_with(&["SCMP_ACT_DANCE"]);
    rt.assert_nothing_left(&bundle);
    let bundle = Bundle::sh("true")
        .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"]}));
    rt.run(&bundle).fails_with(&["SCMP_ARCH_PDP11"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_default_of_errno_with_a_list_of_what_is_allowed() {
    let rt = Runtime::new();
    let allowed = "access arch_prctl brk chdir clone clone3 close dup dup2 execve exit exit_group faccessat fcntl fork fstat futex getcwd getdents64 getegid \
                   geteuid getgid getpid getppid getrandom getuid ioctl lseek lstat mmap mprotect munmap newfstatat open openat pipe pipe2 poll prctl \
                   prlimit64 read readlink rseq rt_sigaction rt_sigprocmask rt_sigreturn set_robust_list set_tid_address sigaltstack stat statx uname \
                   vfork wait4 write writev";
    let rule = json!([{"names": allowed.split_whitespace().collect::<Vec<_>>(), "action": "SCMP_ACT_ALLOW"}]);
    let bundle = Bundle::sh("echo runs; mkdir /tmp/x 2>/dev/null || echo refused; ls /bin/sh")
        .set("/linux/seccomp", profile("SCMP_ACT_ERRNO", rule));
    assert_eq!(rt.run(&bundle).ok(), "runs\nrefused\n/bin/sh");
}

#[test]
fn notify_needs_a_listener() {
    let rt = Runtime::new();
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]);
    let bundle = Bundle::sh("true").set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule.clone()));
    rt.run(&bundle).fails_with(&["listenerPath"]);
    rt.assert_nothing_left(&bundle);
    let mut with_nobody = profile("SCMP_ACT_ALLOW", rule);
    with_nobody["listenerPath"] = json!("/nowhere/listener.sock");
    let bundle = Bundle::sh("true").set("/linux/seccomp", with_nobody);
    rt.run(&bundle).fails_with(&["/nowhere/listener.sock"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn the_listener_gets_the_descriptor_with_the_containers_state() {
    use std::mem::MaybeUninit;
    use std::os::unix::net::UnixListener;
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    let path = bundle.path().join("listener.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]);
    let mut section = profile("SCMP_ACT_ALLOW", rule);
    section["listenerPath"] = json!(path);
    section["listenerMetadata"] = json!("for the listener");
    let bundle = bundle.set("/linux/seccomp", section);
    let receiver = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let mut buffer = vec![0; 65536];
        let received = rustix::net::recvmsg(
            &stream,
            &mut [std::io::IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            rustix::net::RecvFlags::CMSG_CLOEXEC,
        )
        .unwrap();
        let count: usize = ancillary
            .drain()
            .map(|m| if let rustix::net::RecvAncillaryMessage::ScmRights(fds) = m { fds.count() } else { 0 })
            .sum();
        (String::from_utf8_lossy(&buffer[..received.bytes]).into_owned(), count)
    });
    rt.run_detached(&bundle);
    let (text, count) = receiver.join().unwrap();
    assert_eq!(count, 1);
    let message: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(message["fds"], json!(["seccompFd"]));
    assert_eq!(message["metadata"], "for the listener");
    assert_eq!(message["state"]["id"], bundle.id.as_str());
    assert_eq!(message["pid"], rt.pid(&bundle.id));
}
