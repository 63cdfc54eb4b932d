//! What a caller hands over: standard streams, LISTEN_FDS, NOTIFY_SOCKET, preserved descriptors.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use rrun_tests::runtime::{Running, binary, command};
use rrun_tests::{Bundle, Runtime, patience};

#[test]
fn a_closed_stdin_is_end_of_file() {
    let rt = Runtime::new();
    assert_eq!(rt.run(&Bundle::sh("cat; echo end")).ok(), "end");
}

#[test]
fn pipes_end_when_the_container_does() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("cat");
    let mut command = rt.prepare(&["run", "--bundle", bundle.write(), &bundle.id]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through pipes").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"through pipes");
    assert!(output.status.success());
}

#[test]
fn a_reader_that_goes_away_gives_sigpipe_not_an_error_loop() {
    let rt = Runtime::new();
    // `yes` ends only by the signal: with SIGPIPE ignored it would see EPIPE, and busybox's yes would print an error.
    let bundle = Bundle::sh("yes; echo $? >&2");
    bundle.write();
    let line = format!(
        "{} --root {} run --bundle {} {} | head -1",
        binary().display(),
        rt.root().display(),
        bundle.path().display(),
        bundle.id
    );
    let output = command("bash", &["-c", &line]);
    assert_eq!(output.ok(), "y");
    assert!(output.err.contains("141"), "{output:?}");
}

#[test]
fn the_output_of_a_detached_container_goes_where_that_of_run_went() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo up; sleep 0.2; echo later; sleep 10018");
    let running = rt.spawn(&["run", "--detach", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("later");
    running.finish().ok();
}

#[test]
fn listen_fds_are_passed_on() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4; ls /proc/self/fd");
    bundle.write();
    for n in [3, 4, 5] {
        fs::write(bundle.path().join(format!("fd{n}")), format!("descriptor {n}\n")).unwrap();
    }
    let dir = bundle.path().display();
    let line = format!(
        "exec 3<{dir}/fd3 4<{dir}/fd4 5<{dir}/fd5; export LISTEN_FDS=2 LISTEN_PID=$$; exec {} --root {} run --bundle {dir} {}",
        binary().display(),
        rt.root().display(),
        bundle.id
    );
    let output = command("bash", &["-c", &line]);
    assert_eq!(output.out.trim(), "2 1\ndescriptor 3\ndescriptor 4\n0\n1\n2\n3\n4\n5", "{output:?}");
}

#[test]
fn preserve_fds_passes_that_many() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("cat <&3; ls /proc/self/fd");
    bundle.write();
    let given = bundle.path().join("given");
    fs::write(&given, "content\n").unwrap();
    let run = |count: &str| {
        let line = format!(
            "exec 3<{0} 4<{0} 5<{0}; exec {1} --root {2} run --preserve-fds {count} --bundle {3} {4}",
            given.display(),
            binary().display(),
            rt.root().display(),
            bundle.path().display(),
            bundle.id
        );
        command("bash", &["-c", &line])
    };
    assert_eq!(run("1").ok(), "content\n0\n1\n2\n3\n4");
    assert_eq!(run("2").ok(), "content\n0\n1\n2\n3\n4\n5");
    // More than there are: refused before anything starts, or it would shift what the program finds where.
    let output = run("9");
    output.fails_with(&["preserve"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn notify_socket_forwards_ready() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo socket $NOTIFY_SOCKET; /inside notify READY=1 STATUS=fine; sleep 10019");
    fs::copy(env!("CARGO_BIN_EXE_inside"), bundle.rootfs().join("inside")).unwrap();
    let path = bundle.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(patience())).unwrap();
    let mut command = rt.prepare(&["run", "--bundle", bundle.write(), &bundle.id]);
    command.env("NOTIFY_SOCKET", &path);
    let running = Running::start(command);
    let mut text = String::new();
    while !text.contains("READY=1") {
        let mut buffer = [0; 4096];
        let received = socket.recv(&mut buffer).expect("nothing arrives on the notify socket");
        text.push_str(&String::from_utf8_lossy(&buffer[..received]));
    }
    assert!(
        !running.out().contains(path.to_str().unwrap()),
        "the path of the host's socket is of no use inside: {}",
        running.out()
    );
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    rt.assert_nothing_left(&bundle);
}
