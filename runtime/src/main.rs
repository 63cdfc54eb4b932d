//! The rrun command.
use rrun::parent::{Events, Options, create};
use rrun::plan::{Facts, Request, build};
use std::os::fd::{BorrowedFd, OwnedFd, AsFd};
struct E;
impl Events for E {
    fn cloned(&mut self, pid: i32, _: BorrowedFd<'_>) -> rrun::Result<()> { eprintln!("pid {pid}"); Ok(()) }
    fn runtime_hooks(&mut self, _: i32) -> rrun::Result<()> { Ok(()) }
    fn container_hooks(&mut self, _: i32, _: BorrowedFd<'_>) -> rrun::Result<()> { Ok(()) }
    fn console(&mut self, _: OwnedFd) -> rrun::Result<()> { Ok(()) }
    fn seccomp_listener(&mut self, _: OwnedFd, _: i32) -> rrun::Result<()> { Ok(()) }
}
fn go() -> rrun::Result<i32> {
    let bundle = std::fs::canonicalize(std::env::args().nth(1).unwrap()).unwrap();
    let config = rrun::spec::Config::read(&bundle)?;
    let mut request = Request { id: "x".into(), bundle, ..Default::default() };
    request.cgroup.clone_into = true;
    let plan = build(&config, &Facts::gather(), request)?;
    if std::env::args().nth(2).is_some() {
        for (f, s) in plan.parent_steps() { println!("{f:40} {s}"); }
        for s in &plan.init.steps { println!("{:40} {}", s.field, s.op); }
        return Ok(0);
    }
    let child = create(&plan, &Options { gate: rrun::init::Gate::Open, cgroup: None, reparent: false, stdio: None }, &mut E)?;
    let st = rustix::process::waitid(rustix::process::WaitId::PidFd(child.pidfd.as_fd()), rustix::process::WaitIdOptions::EXITED).unwrap().unwrap();
    Ok(st.exit_status().unwrap_or(128))
}
fn main() { match go() { Ok(c) => std::process::exit(c), Err(e) => { eprintln!("rrun: {e}"); std::process::exit(1) } } }
