//! Terminals: the console socket, the size, job control; and the foreground terminal of `run`.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rrun_tests::console::Terminal;
use rrun_tests::runtime::{Running, binary};
use rrun_tests::{Bundle, ConsoleSocket, Runtime};

fn with_terminal(script: &str) -> Bundle {
    Bundle::sh(script).set("/process/terminal", true)
}

#[test]
fn the_master_comes_through_the_console_socket() {
    let rt = Runtime::new();
    let bundle = with_terminal("tty; read line; echo \"got $line\"; ls -l /dev/console | cut -c1; read x");
    let socket = ConsoleSocket::new();
    rt.cmd(&["create", "--console-socket", socket.path().to_str().unwrap(), "--bundle", bundle.write(), &bundle.id]).ok();
    let mut terminal = socket.receive();
    rt.cmd(&["start", &bundle.id]).ok();
    terminal.expect("/dev/pts/0");
    terminal.send("hello\n");
    terminal.expect("got hello");
    terminal.expect("c");
    terminal.send("\n");
    rt.wait_status(&bundle.id, "stopped");
    terminal.until_hangup();
    rt.cmd(&["delete", &bundle.id]).ok();
    rt.assert_nothing_left(&bundle);
}

#[test]
fn run_in_the_background_with_a_terminal() {
    let rt = Runtime::new();
    let bundle = with_terminal("echo ready; read x; exit 0");
    let socket = ConsoleSocket::new();
    rt.cmd(&["run", "--detach", "--console-socket", socket.path().to_str().unwrap(), "--bundle", bundle.write(), &bundle.id])
        .ok();
    let mut terminal = socket.receive();
    terminal.expect("ready");
    terminal.send("\n");
    rt.wait_status(&bundle.id, "stopped");
}

#[test]
fn the_configured_size_and_a_resize() {
    let rt = Runtime::new();
    let bundle = with_terminal("trap 'stty size' WINCH; stty size; while :; do read x; done");
    let bundle = bundle.set("/process/consoleSize/height", 31).set("/process/consoleSize/width", 97);
    let socket = ConsoleSocket::new();
    rt.cmd(&["run", "--detach", "--console-socket", socket.path().to_str().unwrap(), "--bundle", bundle.write(), &bundle.id])
        .ok();
    let mut terminal = socket.receive();
    terminal.expect("31 97");
    terminal.resize(40, 120);
    terminal.send("\n");
    terminal.expect("40 120");
}

#[test]
fn it_is_the_controlling_terminal_with_job_control() {
    let rt = Runtime::new();
    // Ctrl-C reaches the foreground job only, as it does in a login shell.
    let bundle = with_terminal("trap 'echo interrupted' INT; echo ready; sleep 10017; echo after; read x");
    let socket = ConsoleSocket::new();
    rt.cmd(&["run", "--detach", "--console-socket", socket.path().to_str().unwrap(), "--bundle", bundle.write(), &bundle.id])
        .ok();
    let mut terminal = socket.receive();
    terminal.expect("ready");
    std::thread::sleep(std::time::Duration::from_millis(100));
    terminal.send("\x03");
    terminal.expect("after");
    let stat = fs::read_to_string(format!("/proc/{}/stat", rt.pid(&bundle.id))).unwrap();
    let tty: i64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(4).unwrap().parse().unwrap();
    assert_ne!(tty, 0, "no controlling terminal");
}

#[test]
fn exec_with_a_terminal() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    let socket = ConsoleSocket::new();
    let path = socket.path().to_str().unwrap().to_owned();
    rt.cmd(&[
        "exec",
        "--tty",
        "--detach",
        "--console-socket",
        &path,
        &bundle.id,
        "/bin/sh",
        "-c",
        "tty; read line; echo \"got $line\"",
    ])
    .ok();
    let mut terminal = socket.receive();
    terminal.expect("/dev/pts/0");
    terminal.send("typed\n");
    terminal.expect("got typed");
    terminal.until_hangup();
}

#[test]
fn a_terminal_belongs_to_the_containers_user() {
    let rt = Runtime::new();
    let bundle = with_terminal("stat -c 'owner %u mode %a' /dev/pts/0; echo x > /dev/tty; echo written")
        .set("/process/user/uid", 1000)
        .set("/process/user/gid", 1000);
    let socket = ConsoleSocket::new();
    rt.cmd(&["run", "--detach", "--console-socket", socket.path().to_str().unwrap(), "--bundle", bundle.write(), &bundle.id])
        .ok();
    let mut terminal = socket.receive();
    terminal.expect("owner 1000");
    terminal.expect("written");
}

#[test]
fn a_terminal_in_a_user_namespace() {
    let rt = Runtime::new();
    let bundle = with_terminal("tty; id -u; echo x > /dev/tty && echo written").user_namespace(100_000, 65536);
    let socket = ConsoleSocket::new();
    rt.cmd(&["run", "--detach", "--console-socket", socket.path().to_str().unwrap(), "--bundle", bundle.write(), &bundle.id])
        .ok();
    let mut terminal = socket.receive();
    terminal.expect("/dev/pts/0");
    terminal.expect("written");
}

#[test]
fn a_console_socket_where_there_is_none_to_have() {
    let rt = Runtime::new();
    // A terminal in the background needs a socket; a socket needs a terminal.
    let bundle = with_terminal("true");
    rt.cmd(&["create", "--bundle", bundle.write(), &bundle.id]).fails_with(&["console"]);
    rt.cmd(&["create", "--console-socket", "/nowhere.sock", "--bundle", bundle.write(), &bundle.id])
        .fails_with(&["/nowhere.sock"]);
    rt.assert_nothing_left(&bundle);
    let bundle = Bundle::sh("true");
    let socket = ConsoleSocket::new();
    rt.cmd(&["create", "--console-socket", socket.path().to_str().unwrap(), "--bundle", bundle.write(), &bundle.id])
        .fails_with(&["console"]);
    rt.assert_nothing_left(&bundle);
}

/// Starts the command on a new terminal of ours, as a login shell would have it.
fn on_a_terminal(rt: &Runtime, args: &[&str]) -> (Terminal, std::process::Child) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave: OwnedFd = fs::OpenOptions::new().read(true).write(true).open(&name).unwrap().into();
    let terminal = Terminal::new(master);
    terminal.resize(33, 77);
    // setsid -c makes its stdin the controlling terminal of a new session.
    let mut command = Command::new("setsid");
    command.args(["-c", "-w"]).arg(binary()).arg("--root").arg(rt.root()).args(args);
    command
        .stdin(Stdio::from(slave.try_clone().unwrap()))
        .stdout(Stdio::from(slave.try_clone().unwrap()))
        .stderr(Stdio::from(slave));
    (terminal, command.spawn().unwrap())
}

#[test]
fn run_in_the_foreground_connects_its_own_terminal() {
    let rt = Runtime::new();
    let bundle = with_terminal("stty size; read line; echo \"got <$line>\"; exit 6");
    let (mut terminal, mut child) = on_a_terminal(&rt, &["run", "--bundle", bundle.write(), &bundle.id]);
    terminal.expect("33 77");
    terminal.send("hello\n");
    terminal.expect("got <hello>");
    assert_eq!(child.wait().unwrap().code(), Some(6));
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_resize_in_the_foreground_is_passed_on_and_the_mode_is_restored() {
    let rt = Runtime::new();
    let bundle = with_terminal("trap 'stty size' WINCH; echo ready; while read x; do [ \"$x\" = end ] && exit 0; done");
    let (mut terminal, mut child) = on_a_terminal(&rt, &["run", "--bundle", bundle.write(), &bundle.id]);
    terminal.expect("ready");
    terminal.resize(50, 150);
    terminal.expect("50 150");
    terminal.send("end\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn exec_in_the_foreground_with_a_terminal() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    let (mut terminal, mut child) = on_a_terminal(&rt, &["exec", "--tty", &bundle.id, "/bin/sh", "-c", "tty; exit 8"]);
    terminal.expect("/dev/pts/0");
    assert_eq!(child.wait().unwrap().code(), Some(8));
}

#[test]
fn without_a_terminal_nothing_is_one() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("tty; [ -e /dev/console ] && echo console; true");
    let mut command = rt.prepare(&["run", "--bundle", bundle.write(), &bundle.id]);
    command.stdin(Stdio::null());
    assert_eq!(Running::start(command).finish().ok(), "not a tty");
}
