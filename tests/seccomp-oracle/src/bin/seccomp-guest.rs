//! Puts itself under a filter and tells what comes of it.
//!
//! usage: `seccomp-guest PROFILE.json [enosys] STEP ...` with the steps
//! `call:NR[:ARG...]`, `i386:NR[:ARG]`, `thread:NR` (from a thread of its own), `status`, `catch`, `spawn`,
//! `agent:PATH:NR:ARG` (the filter on a thread, its listener sent to PATH, then the call).

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::mpsc;

use rrun::seccomp::{Options, Program, compile_for, send_listener};
use rrun::sys::seccomp::load;
use seccomp_oracle::calls as sys;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (profile, steps) = args.split_first().ok_or("usage: seccomp-guest PROFILE STEP...")?;
    let section = serde_json::from_str(&std::fs::read_to_string(profile)?)?;
    let program = compile_for(&section, Options::default())?;

    if let Some(step) = steps[0].strip_prefix("agent:") {
        return agent(&program, step, &section.listener_metadata);
    }
    if steps[0] == "catch" {
        sys::catch_trap();
    }
    match load(&program.filter, program.flags) {
        Ok(listener) => assert!(listener.is_none(), "a listener without NOTIFY"),
        Err(e) => {
            println!("load: {}", e.raw_os_error());
            return Ok(());
        }
    }
    for step in steps {
        let (kind, rest) = step.split_once(':').unwrap_or((step, ""));
        let numbers: Vec<u64> = rest.split(':').filter(|n| !n.is_empty()).map(number).collect();
        let mut all = [0; 6];
        all.iter_mut().zip(numbers.iter().skip(1)).for_each(|(to, from)| *to = *from);
        let said = match kind {
            "call" => said(sys::call(numbers[0] as u32, all)),
            "i386" => sys::call_i386(numbers[0] as u32, all[0] as u32).to_string(),
            "thread" => {
                let number = numbers[0] as u32;
                // A thread that is killed never ends for std: wait a while for its word instead.
                let (tell, told) = mpsc::channel();
                std::thread::spawn(move || tell.send(said(sys::call(number, [0; 6]))));
                told.recv_timeout(std::time::Duration::from_millis(500)).unwrap_or("gone".into())
            }
            "status" => {
                let status = std::fs::read_to_string("/proc/thread-self/status")?;
                let lines = status.lines().filter(|line| line.starts_with("NoNewPrivs") || line.starts_with("Seccomp:"));
                lines.map(|line| line.replace('\t', "")).collect::<Vec<_>>().join(" ")
            }
            "spawn" => std::process::Command::new("/bin/true").status()?.to_string(),
            "catch" => continue,
            other => return Err(format!("step {other}").into()),
        };
        println!("{said}{}", if sys::trapped() == -1 { String::new() } else { format!(" trapped {}", sys::trapped()) });
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn number(text: &str) -> u64 {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    parsed.expect("a number")
}

fn said(result: std::io::Result<i64>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(e) => format!("errno {}", e.raw_os_error().unwrap_or(0)),
    }
}

fn agent(program: &Program, step: &str, metadata: &str) -> Result<(), Box<dyn std::error::Error>> {
    let parts: Vec<&str> = step.split(':').collect();
    let (path, nr, arg) = (parts[0], number(parts[1]) as u32, number(parts[2]));
    let (tell, told) = mpsc::channel();
    let (program, pid) = (program.clone(), std::process::id() as i32);
    let caller = std::thread::spawn(move || {
        let loaded = load(&program.filter, program.flags);
        let loaded = loaded.map_err(|e| e.raw_os_error()).and_then(|listener| listener.ok_or(0));
        tell.send(loaded).expect("the main thread waits");
        said(sys::call(nr, [arg, 0, 0, 0, 0, 0]))
    });
    let listener = told.recv()?.map_err(|e| format!("no listener: {e}"))?;
    let state = serde_json::json!({"ociVersion": "1.3.0", "id": "box", "status": "creating", "pid": pid, "bundle": "/b"});
    send_listener(path, metadata, "1.3.0", pid, &state, listener.as_fd())?;
    println!("{}", caller.join().map_err(|_| "the caller's thread")?);
    Ok(())
}
