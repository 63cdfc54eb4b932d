//! From a bundle to plans: everything that can be checked is, before anything is made. `check` and `explain` stop here.

use std::path::{Path, PathBuf};

use crate::cgroup::{self, CgroupPlan, Host, Layout};
use crate::error::{Error, Result};
use crate::hooks;
use crate::mount::plan::{CgroupView, V1View};
use crate::notify;
use crate::plan::{Facts, Filter, Plan, Request, build};
use crate::rdt::{self, RdtPlan};
use crate::seccomp;
use crate::spec::config::{Config, Process, Seccomp};
use crate::sys::process::is_open;

/// What the command line adds to a bundle.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// `--systemd-cgroup`.
    pub systemd: bool,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// Descriptors handed over by systemd (sd_listen_fds(3)): from 3 on, before the preserved ones.
    pub listen_fds: u32,
    /// State directory of a container whose caller wants to know when it is ready (NOTIFY_SOCKET).
    pub notify: Option<PathBuf>,
}

/// Everything decided about a container.
#[derive(Debug)]
pub struct Prepared {
    /// Container id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// The file.
    pub config: Config,
    /// Does it get a NOTIFY_SOCKET?
    pub notify: bool,
    /// Its cgroup.
    pub cgroup: CgroupPlan,
    /// Its class of service.
    pub rdt: Option<RdtPlan>,
    /// The rest.
    pub plan: Plan,
}

/// Checks a bundle and makes its plans.
///
/// # Errors
/// The first field that is wrong, or that this host cannot do.
pub fn prepare(mut config: Config, bundle: &Path, id: &str, wishes: &Wishes) -> Result<Prepared> {
    check_hooks(&config)?;
    let linux = config.linux.clone().unwrap_or_default();
    let resources = linux.resources.clone().unwrap_or_default();
    let host = Host::detect()?;
    let request = cgroup::Request {
        id,
        cgroups_path: Some(linux.cgroups_path.as_str()).filter(|p| !p.is_empty()),
        systemd: wishes.systemd,
        resources: &resources,
        devices: &linux.devices,
        annotations: &config.annotations,
    };
    let cgroup = cgroup::plan(&host, &request)?;
    let rdt = match &linux.intel_rdt {
        Some(section) => Some(rdt::plan(rdt::Host::detect()?.as_ref(), section, id)?),
        None => None,
    };
    let mut warnings = cgroup.warnings.clone();
    let filter = linux.seccomp.as_ref().map(|s| compile(s, &mut warnings)).transpose()?;
    let mut env = Vec::new();
    if wishes.listen_fds > 0 {
        env.extend([format!("LISTEN_FDS={}", wishes.listen_fds), "LISTEN_PID=1".to_owned()]);
        env.extend(std::env::var("LISTEN_FDNAMES").ok().map(|names| format!("LISTEN_FDNAMES={names}")));
    }
    check_fds(wishes.listen_fds, wishes.preserve_fds)?;
    if let Some(state) = &wishes.notify {
        let (mount, variable) = notify::for_container(state);
        config.mounts.push(mount);
        env.push(variable);
    }
    env.extend(home(&config, bundle));
    let hooks = config.hooks.clone().unwrap_or_default();
    let request = Request {
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        cgroup: view(&host, &cgroup),
        filter,
        no_pivot: wishes.no_pivot,
        no_new_keyring: wishes.no_new_keyring,
        keep_fds: wishes.listen_fds + wishes.preserve_fds,
        runtime_hooks: !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty(),
        container_hooks: !hooks.create_container.is_empty(),
        env,
    };
    let mut plan = build(&config, &Facts::gather(), request)?;
    warnings.append(&mut plan.warnings);
    plan.warnings = warnings;
    Ok(Prepared { id: id.to_owned(), bundle: bundle.to_owned(), config, notify: wishes.notify.is_some(), cgroup, rdt, plan })
}

fn check_hooks(config: &Config) -> Result<()> {
    let Some(all) = &config.hooks else { return Ok(()) };
    for (name, hooks) in [
        ("prestart", &all.prestart),
        ("createRuntime", &all.create_runtime),
        ("createContainer", &all.create_container),
        ("startContainer", &all.start_container),
        ("poststart", &all.poststart),
        ("poststop", &all.poststop),
    ] {
        hooks::check(name, hooks)?;
    }
    Ok(())
}

/// `linux.seccomp` as init loads it.
///
/// # Errors
/// Those of [`seccomp::compile`].
pub fn compile(section: &Seccomp, warnings: &mut Vec<String>) -> Result<Filter> {
    let mut program = seccomp::compile(section)?;
    warnings.append(&mut program.warnings);
    let listener = program.uses_notify.then(|| (section.listener_path.clone(), section.listener_metadata.clone()));
    Ok(Filter { filter: program.filter, flags: program.flags, listener })
}

/// Descriptors to pass on must be there before we open any of our own.
pub fn check_fds(listen: u32, preserve: u32) -> Result<()> {
    if preserve > 4096 {
        return Err(Error::config("--preserve-fds", format!("{preserve} is more than 4096")));
    }
    match (3..3 + (listen + preserve) as i32).find(|fd| !is_open(*fd)) {
        Some(fd) => Err(Error::config(
            "--preserve-fds",
            format!("descriptor {fd} is not open (3 to {} are to be passed on)", 2 + listen + preserve),
        )),
        None => Ok(()),
    }
}

/// Does the environment say where HOME is? The last one counts, and an empty one does not.
pub fn has_home(process: &Process) -> bool {
    process.env.iter().rev().find_map(|e| e.strip_prefix("HOME=")).is_some_and(|home| !home.is_empty())
}

/// HOME, where neither config.json nor the caller says it.
fn home(config: &Config, bundle: &Path) -> Option<String> {
    use std::os::fd::AsFd;
    let process = config.process.as_ref()?;
    if has_home(process) {
        return None;
    }
    let root = crate::parent::open_rootfs(&bundle.join(&config.root.as_ref()?.path)).ok()?;
    Some(format!("HOME={}", super::passwd::home(root.as_fd(), process.user.uid).unwrap_or_else(|| "/".into())))
}

/// What a cgroup mount shows.
fn view(host: &Host, plan: &CgroupPlan) -> CgroupView {
    let cgroup = plan.cgroup();
    let v2 = cgroup.unified.as_ref().filter(|_| host.layout() == Layout::V2).map(|dir| PathBuf::from(dir.full()));
    let v1 = cgroup.legacy.iter().filter_map(|dir| {
        let name = Path::new(&dir.mount).file_name()?.to_str()?.to_owned();
        Some(V1View { name, option: dir.controllers.join(","), path: PathBuf::from(dir.full()) })
    });
    CgroupView { v2, v1: v1.collect(), clone_into: plan.complete_at_clone() }
}
