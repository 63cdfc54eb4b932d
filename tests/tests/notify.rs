//! NOTIFY_SOCKET for detached containers, and by create and start: the service manager hears READY and which process to watch.

use std::fs;
use std::os::unix::net::UnixDatagram;

use rrun_tests::runtime::Running;
use rrun_tests::{Bundle, Runtime, patience};

/// A bundle that says READY when `/go` is there, and a service manager's socket beside it.
fn service() -> (Bundle, UnixDatagram) {
    let script = "echo $NOTIFY_SOCKET; touch /run/notify/x 2>/dev/null && echo writable; while ! [ -e /go ]; do sleep 0.05; done; \
                  /inside notify FDSTORE=1 MAINPID=1 >/dev/null; /inside notify STATUS=up READY=1 >/dev/null; sleep 10031";
    let bundle = Bundle::sh(script);
    fs::copy(env!("CARGO_BIN_EXE_inside"), bundle.rootfs().join("inside")).unwrap();
    let socket = UnixDatagram::bind(bundle.path().join("notify.sock")).unwrap();
    socket.set_read_timeout(Some(patience())).unwrap();
    (bundle, socket)
}

/// All that comes, up to the barrier. Its descriptor is dropped, as there is no room for one: the manager is done.
fn heard(socket: &UnixDatagram) -> String {
    let mut text = String::new();
    while !text.contains("BARRIER=1") {
        let mut buffer = [0; 4096];
        let received = socket.recv(&mut buffer).expect("nothing more arrives on the notify socket");
        text.push_str(&String::from_utf8_lossy(&buffer[..received]));
    }
    text
}

fn with_socket(rt: &Runtime, bundle: &Bundle, args: &[&str]) -> Running {
    let mut command = rt.prepare(args);
    command.env("NOTIFY_SOCKET", bundle.path().join("notify.sock"));
    Running::start(command)
}

#[test]
fn run_detached_returns_when_the_container_is_ready() {
    let rt = Runtime::new();
    let (bundle, socket) = service();
    let running = with_socket(&rt, &bundle, &["run", "--detach", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("/run/notify/notify.sock");
    // It has not said so yet, and others can work on it meanwhile.
    rt.wait_status(&bundle.id, "running");
    rt.cmd(&["pause", &bundle.id]).ok();
    rt.cmd(&["resume", &bundle.id]).ok();
    fs::write(bundle.rootfs().join("go"), "").unwrap();
    let text = heard(&socket);
    assert_eq!(text, format!("READY=1\nMAINPID={}\nBARRIER=1", rt.pid(&bundle.id)));
    let output = running.finish();
    assert_eq!(output.ok(), "/run/notify/notify.sock", "and its directory is read-only");
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    rt.assert_nothing_left(&bundle);
}

#[test]
fn start_returns_when_the_container_is_ready() {
    let rt = Runtime::new();
    let (bundle, socket) = service();
    with_socket(&rt, &bundle, &["create", "--bundle", bundle.write(), &bundle.id]).finish().ok();
    let pid = rt.pid(&bundle.id);
    let running = with_socket(&rt, &bundle, &["start", &bundle.id]);
    rt.wait_status(&bundle.id, "running");
    fs::write(bundle.rootfs().join("go"), "").unwrap();
    assert_eq!(heard(&socket), format!("READY=1\nMAINPID={pid}\nBARRIER=1"));
    running.finish().ok();
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    rt.assert_nothing_left(&bundle);
}

#[test]
fn start_returns_when_the_container_ends_without_a_word() {
    let rt = Runtime::new();
    let (bundle, _socket) = service();
    let bundle = bundle.set("/process/args", serde_json::json!(["/bin/false"]));
    with_socket(&rt, &bundle, &["create", "--bundle", bundle.write(), &bundle.id]).finish().ok();
    with_socket(&rt, &bundle, &["start", &bundle.id]).finish().ok();
    rt.wait_status(&bundle.id, "stopped");
}

#[test]
fn an_unknown_kind_of_address_is_refused() {
    let rt = Runtime::new();
    let (bundle, _socket) = service();
    let mut command = rt.prepare(&["create", "--bundle", bundle.write(), &bundle.id]);
    command.env("NOTIFY_SOCKET", "vsock:2:1234");
    Running::start(command).finish().fails_with(&["NOTIFY_SOCKET", "vsock:2:1234"]);
    rt.assert_nothing_left(&bundle);
}
