//! Config + Facts -> Plan, in the order in which init will do it. docs/init.md says why each step stands where it stands.

use std::ffi::CString;
use std::path::PathBuf;

use super::namespaces::{Namespaces, check_mappings, map_text, time_offsets};
use super::process::{Surroundings, attribute_steps, check, cpu_mask, final_steps, label_steps};
use super::{Duties, Facts, Filter, InitPlan, Inside, Op, Plan, Step, memory, rootfs};
use crate::devices;
use crate::error::{Error, Result};
use crate::mount::options::propagation;
use crate::mount::plan::{Builder, CgroupView};
use crate::spec::config::{Config, IdMapping, Linux, MemoryPolicy, NamespaceKind, Personality, Process};

/// What the caller of [`build`] decides beside config.json.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Container id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Where the container's cgroups are.
    pub cgroup: CgroupView,
    /// Compiled `linux.seccomp`.
    pub filter: Option<Filter>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// Descriptors from 3 on that the program keeps: LISTEN_FDS and `--preserve-fds`.
    pub keep_fds: u32,
    /// Must init wait for hooks: prestart or createRuntime; createContainer.
    pub runtime_hooks: bool,
    /// See above.
    pub container_hooks: bool,
    /// Extra environment of the program: LISTEN_FDS, NOTIFY_SOCKET.
    pub env: Vec<String>,
}

/// Makes the Plan of a container.
///
/// # Errors
/// The first field of config.json that is wrong, or that this host cannot do.
pub fn build(config: &Config, facts: &Facts, request: Request) -> Result<Plan> {
    let mut warnings = Vec::new();
    let empty = Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&empty);
    let Some(process) = &config.process else {
        return Err(Error::config("process", "is absent; a container needs a process to run"));
    };
    let process = &Process { env: [&process.env[..], &request.env[..]].concat(), ..process.clone() };
    let Some(root) = &config.root else {
        return Err(Error::config("root", "is absent; a container needs a root file system"));
    };
    let namespaces = Namespaces::read(linux)?;
    check_config(config, linux, &namespaces)?;
    let (root_kind, root_recursive) = match linux.rootfs_propagation.as_str() {
        "" => (libc::MS_SLAVE, true),
        word => {
            propagation(word).ok_or_else(|| Error::config("linux.rootfsPropagation", format!("unknown propagation {word:?}")))?
        }
    };
    let shared = root_kind == libc::MS_SHARED;
    let userns = namespaces.has(NamespaceKind::User);
    let maps = namespaces.is_new(NamespaceKind::User).then_some((&linux.uid_mappings[..], &linux.gid_mappings[..]));
    let around = Surroundings { facts, userns, maps, filter: request.filter.clone() };
    let checked = check(process, &around, &mut warnings)?;
    let offsets = time_offsets(linux, &namespaces)?;
    let mut duties = duties(linux, process, &namespaces, maps, &checked.limits, checked.named_limits, facts)?;
    if userns {
        duties.time_offsets = offsets.clone();
    }

    let mut builder = Builder {
        bundle: &request.bundle,
        config,
        linux,
        namespaces: &namespaces,
        facts,
        cgroup: &request.cgroup,
        base_propagation: if shared { 0 } else { root_kind & (libc::MS_SLAVE | libc::MS_PRIVATE) },
        trees: Vec::new(),
        steps: Vec::new(),
        late: Vec::new(),
    };

    // Namespaces first; the pid namespace was the parent's to enter.
    for (index, joined) in namespaces.joined.iter().enumerate() {
        // With a user namespace the parent's stage joins them all: init would have no privileges over them.
        if !userns && joined.kind != NamespaceKind::Pid {
            let op = Op::Join { index, kind: joined.kind, path: joined.path.clone() };
            builder.steps.push(Step { field: joined.field.clone(), op });
        }
    }
    let mut step = |field: &str, op: Op| builder.steps.push(Step { field: field.into(), op });
    if namespaces.is_new(NamespaceKind::Time) {
        let offsets = if userns { Vec::new() } else { offsets.unwrap_or_default() };
        step("linux.timeOffsets", Op::UnshareTime { offsets });
    }
    let late_cgroup_namespace = namespaces.is_new(NamespaceKind::Cgroup) && !request.cgroup.clone_into;
    if duties != Duties::default() || !request.cgroup.clone_into || request.runtime_hooks || linux.intel_rdt.is_some() {
        step("create", Op::WaitForParent);
    }
    if userns {
        step("linux.uidMappings", Op::BecomeRoot { set_groups: true });
    }
    if late_cgroup_namespace {
        step("linux.namespaces (cgroup)", Op::UnshareCgroup);
    }
    if namespaces.is_new(NamespaceKind::Network) {
        step("linux.namespaces (network)", Op::Loopback);
    }
    step("create", Op::NewSession);
    if !request.no_new_keyring {
        // linux/keyctl.h: the possessor may do all, the user view and search.
        let permissions = 0x3f09_0000;
        let name = CString::new(format!("_ses.{}", request.id)).unwrap_or_default();
        step("create", Op::Keyring { name, permissions });
    }

    // The new tree.
    let new_mount_ns = namespaces.is_new(NamespaceKind::Mount);
    if new_mount_ns {
        step("linux.namespaces (mount)", Op::Isolate);
        // createContainer hooks look for it under its own name; otherwise no path to it has to be searched, which the container's
        // root user might not be allowed to do.
        let rootfs = request.bundle.join(&root.path);
        let at = if request.container_hooks { rootfs.to_string_lossy().into_owned() } else { "/".into() };
        step("root.path", Op::AttachRoot { at: CString::new(at).unwrap_or_default() });
    } else {
        let path = CString::new(root.path.as_str()).map_err(|_| Error::config("root.path", "holds a NUL byte"))?;
        step("root.path", Op::OpenRoot { path });
    }
    builder.mounts()?;
    devices::steps(&mut builder)?;
    let mut step = |field: &str, op: Op| builder.steps.push(Step { field: field.into(), op });
    if let Some(path) = Inside::new(&process.cwd).filter(|p| !p.is_root()) {
        step("process.cwd", Op::Directory { path });
    }
    if process.terminal {
        let size = process.console_size.map(|s| (s.height, s.width));
        step("process.terminal", Op::Console { size, bind: Some(Inside::clean(c"/dev/console")) });
    }
    builder.steps.append(&mut builder.late);
    let mut step = |field: &str, op: Op| builder.steps.push(Step { field: field.into(), op });
    if request.container_hooks {
        step("hooks.createContainer", Op::WaitForHooks);
    }

    // What is written through the host's /proc, while it can be reached.
    if let Some(name) = config.hostname.as_deref().filter(|n| !n.is_empty()) {
        step("hostname", Op::Hostname { name: name.to_owned() });
    }
    if let Some(name) = config.domainname.as_deref().filter(|n| !n.is_empty()) {
        step("domainname", Op::Domainname { name: name.to_owned() });
    }
    rootfs::sysctls(linux, &namespaces, &mut builder.steps)?;
    if let Some(adj) = process.oom_score_adj.filter(|_| !userns) {
        let value = CString::new(adj.to_string()).unwrap_or_default();
        let op = Op::ProcSelf { file: c"oom_score_adj".to_owned(), value };
        builder.steps.push(Step { field: "process.oomScoreAdj".into(), op });
    }
    label_steps(process, facts, &mut builder.steps)?;
    rootfs::covered_paths(linux, &mut builder.steps)?;

    // Into the new root.
    let mut step = |field: &str, op: Op| builder.steps.push(Step { field: field.into(), op });
    let enter = match (new_mount_ns, request.no_pivot) {
        (true, false) => Op::Pivot,
        (true, true) => Op::MoveRoot,
        (false, _) => Op::Chroot,
    };
    step("root.path", enter);
    if new_mount_ns && !matches!(root_kind, libc::MS_SLAVE | libc::MS_PRIVATE) {
        step("linux.rootfsPropagation", Op::RootPropagation { kind: root_kind, recursive: root_recursive });
    }
    if root.readonly {
        step("root.readonly", Op::RootReadonly);
    }

    let mut step = |field: &str, op: Op| builder.steps.push(Step { field: field.into(), op });
    step("create", Op::Release { keep_fds: request.keep_fds });

    // The process itself.
    attribute_steps(process, &checked, &around, &mut builder.steps)?;
    let mut step = |field: &str, op: Op| builder.steps.push(Step { field: field.into(), op });
    step("create", Op::Affinity { mask: vec![u64::MAX; 16] });
    memory_and_personality(linux.memory_policy.as_ref(), linux.personality.as_ref(), &mut builder.steps)?;
    let mut step = |field: &str, op: Op| builder.steps.push(Step { field: field.into(), op });
    step("process.cwd", Op::Chdir { path: checked.cwd.clone(), create: false, last: false });
    step("process.args[0]", Op::FindProgram);
    step("start", Op::WaitForStart);
    final_steps(process, &checked, &around, request.keep_fds, &mut builder.steps);

    let (trees, steps) = (builder.trees, builder.steps);
    Ok(Plan {
        id: request.id,
        rootfs: request.bundle.join(&root.path),
        bundle: request.bundle,
        warnings,
        namespaces,
        trees,
        clone_into_cgroup: request.cgroup.clone_into,
        root_propagation: if root_kind == libc::MS_SLAVE { libc::MS_SLAVE } else { libc::MS_PRIVATE },
        duties,
        init: InitPlan { steps, program: checked.program, filter: checked.filter },
    })
}

/// Checks that concern several fields.
fn check_config(config: &Config, linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    if !config.oci_version.starts_with("1.") {
        let problem = format!("{:?}: this is rrun for versions 1.0 to 1.3 of the runtime specification", config.oci_version);
        return Err(Error::config("ociVersion", problem));
    }
    if !namespaces.has(NamespaceKind::Mount) {
        let problem = "has no mount namespace; rrun changes no mounts of the host: add {\"type\": \"mount\"}";
        return Err(Error::config("linux.namespaces", problem));
    }
    for (field, name) in [("hostname", &config.hostname), ("domainname", &config.domainname)] {
        let Some(name) = name.as_deref().filter(|n| !n.is_empty()) else { continue };
        if !namespaces.has(NamespaceKind::Uts) {
            return Err(Error::config(field, "given, but linux.namespaces has no uts namespace: it would change the host's"));
        }
        if name.contains('\0') {
            return Err(Error::config(field, "holds a NUL byte"));
        }
        if name.len() > 64 {
            return Err(Error::config(field, format!("has {} bytes; the kernel takes 64", name.len())));
        }
    }
    check_mappings(config, linux, namespaces)?;
    if !linux.net_devices.is_empty() && !namespaces.has(NamespaceKind::Network) {
        return Err(Error::config("linux.netDevices", "given, but linux.namespaces has no network namespace"));
    }
    for (name, device) in &linux.net_devices {
        let inside = device.name.as_deref().filter(|n| !n.is_empty());
        // A template: the kernel puts the first free number there.
        let plain = inside.map(|n| n.replacen("%d", "0", 1));
        for name in std::iter::once(name).chain(&plain) {
            let bad = name.is_empty()
                || name.len() > 15
                || name == "."
                || name == ".."
                || name.contains(['/', ':', '%'])
                || name.contains(char::is_whitespace);
            if bad {
                return Err(Error::config(format!("linux.netDevices.{name}"), "is not the name of a network device"));
            }
        }
    }
    Ok(())
}

/// What the parent does between clone and GO.
fn duties(
    linux: &Linux,
    process: &Process,
    namespaces: &Namespaces,
    maps: Option<(&[IdMapping], &[IdMapping])>,
    limits: &[(u32, crate::sys::process::Limit)],
    _named: usize,
    _facts: &Facts,
) -> Result<Duties> {
    let userns = namespaces.has(NamespaceKind::User);
    let net_devices = linux.net_devices.iter();
    Ok(Duties {
        uid_map: maps.map(|(uids, _)| map_text(uids)),
        gid_map: maps.map(|(_, gids)| map_text(gids)),
        oom_score_adj: process.oom_score_adj.filter(|_| userns),
        limits: if userns { limits.to_vec() } else { Vec::new() },
        time_offsets: None,
        net_devices: net_devices
            .map(|(name, d)| (name.clone(), d.name.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| name.clone())))
            .collect(),
    })
}

/// `linux.memoryPolicy` and `linux.personality`, for the first process and for `exec`.
fn memory_and_personality(policy: Option<&MemoryPolicy>, persona: Option<&Personality>, steps: &mut Vec<Step>) -> Result<()> {
    if let Some(policy) = policy {
        let op = memory::op(policy)?;
        steps.push(Step { field: "linux.memoryPolicy".into(), op });
    }
    steps.push(Step { field: "linux.personality".into(), op: personality(persona)? });
    Ok(())
}

/// `linux.personality`; without it the kernel's default, whatever our caller had.
fn personality(personality: Option<&Personality>) -> Result<Op> {
    let Some(personality) = personality else { return Ok(Op::Personality { value: 0 }) };
    if !personality.flags.is_empty() {
        return Err(Error::config("linux.personality.flags", "must be empty: the specification defines none"));
    }
    match personality.domain.as_str() {
        "LINUX" => Ok(Op::Personality { value: 0 }),
        "LINUX32" => Ok(Op::Personality { value: 8 }),
        other => Err(Error::config("linux.personality.domain", format!("{other:?} is not LINUX or LINUX32"))),
    }
}

/// What the caller of [`build_exec`] decides.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// CLONE_NEW* of the namespaces to enter, without pid (the parent's part).
    pub namespaces: u64,
    /// In a user namespace of the container's?
    pub userns: bool,
    /// Is the child not born in its cgroup?
    pub wait: bool,
    /// Filter.
    pub filter: Option<Filter>,
    /// Descriptors from 3 on that the program keeps.
    pub keep_fds: u32,
    /// The container's id: its session keyring is joined by name.
    pub id: String,
    /// The container's `linux.memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
    /// The container's `linux.personality`.
    pub personality: Option<Personality>,
}

/// Makes init's part of `exec`.
///
/// # Errors
/// The first field of the process that is wrong, or that this host cannot do.
pub fn build_exec(
    process: &Process,
    facts: &Facts,
    request: &ExecRequest,
    warnings: &mut Vec<String>,
) -> Result<(InitPlan, Duties)> {
    let around = Surroundings { facts, userns: request.userns, maps: None, filter: request.filter.clone() };
    let checked = check(process, &around, warnings)?;
    let mut duties = Duties::default();
    if request.userns {
        duties.limits = checked.limits.clone();
        duties.oom_score_adj = process.oom_score_adj;
    }
    let mut steps = Vec::new();
    let mut step = |field: &str, op: Op| steps.push(Step { field: field.into(), op });
    let affinity = process.exec_cpu_affinity.as_ref();
    if let Some(list) = affinity.and_then(|a| a.initial.as_deref()).filter(|l| !l.is_empty()) {
        step("process.execCPUAffinity.initial", Op::Affinity { mask: cpu_mask("process.execCPUAffinity.initial", list)? });
    }
    if request.wait || duties != Duties::default() {
        step("exec", Op::WaitForParent);
    }
    if let Some(adj) = process.oom_score_adj.filter(|_| !request.userns) {
        let value = CString::new(adj.to_string()).unwrap_or_default();
        step("process.oomScoreAdj", Op::ProcSelf { file: c"oom_score_adj".to_owned(), value });
    }
    label_steps(process, facts, &mut steps)?;
    let mut step = |field: &str, op: Op| steps.push(Step { field: field.into(), op });
    step("exec", Op::JoinProcess { flags: request.namespaces });
    step("exec", Op::Release { keep_fds: request.keep_fds });
    if request.userns {
        step("exec", Op::BecomeRoot { set_groups: true });
    }
    step("exec", Op::NewSession);
    step("exec", Op::Keyring { name: CString::new(format!("_ses.{}", request.id)).unwrap_or_default(), permissions: 0 });
    if process.terminal {
        let size = process.console_size.map(|s| (s.height, s.width));
        step("process.terminal", Op::Console { size, bind: None });
    }
    attribute_steps(process, &checked, &around, &mut steps)?;
    let mut step = |field: &str, op: Op| steps.push(Step { field: field.into(), op });
    let mask = match affinity.and_then(|a| a.final_.as_deref()) {
        Some(list) if !list.is_empty() => cpu_mask("process.execCPUAffinity.final", list)?,
        _ => vec![u64::MAX; 16],
    };
    step("process.execCPUAffinity", Op::Affinity { mask });
    memory_and_personality(request.memory_policy.as_ref(), request.personality.as_ref(), &mut steps)?;
    let mut step = |field: &str, op: Op| steps.push(Step { field: field.into(), op });
    step("process.cwd", Op::Chdir { path: checked.cwd.clone(), create: false, last: false });
    step("process.args[0]", Op::FindProgram);
    final_steps(process, &checked, &around, request.keep_fds, &mut steps);
    Ok((InitPlan { steps, program: checked.program, filter: checked.filter }, duties))
}
