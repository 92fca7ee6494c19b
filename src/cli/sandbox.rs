//! `--sandbox`: giving up what the job does not need, so that whoever takes over the program by a hostile picture gets little.
//!
//! Two walls of the kernel. Landlock says which files may be opened: models, the configuration's folder and the clip for
//! reading, `state.dir` and the pictures' folder for writing, devices in `/dev` where a camera or a serial port may come
//! back under another name, and some of `/proc` and `/sys`. Seccomp says which system calls fail: everything of the network,
//! starting programs, looking into others, mounting, modules, clocks. It names what is forbidden and not what is allowed, because an
//! allow-list breaks with the next C library, on a board where nobody looks.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use nformer_edge::settings::{SYSTEM_FILE, Settings};
use tracing::{info, warn};

/// What is asked of the kernel; an older one gives what it has.
const WANTED: ABI = ABI::V6;

/// Read for the health message, for the time away, and by the allocator.
const SYSTEM: [&str; 6] = [
    "/proc/self",
    "/proc/uptime",
    "/proc/sys/kernel/random/boot_id",
    "/proc/sys/vm/overcommit_memory",
    "/sys/class",
    "/sys/devices",
];

/// What may still be opened.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    /// Whether devices may be opened.
    devices: bool,
}

impl Paths {
    /// What a run with these settings opens later on, and again.
    pub(crate) fn of(settings: &Settings, config: Option<&Path>, snapshot: Option<&Path>) -> Self {
        let mut read: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
        // The folder, because a file that is changed is a new one to most editors.
        read.extend(config.unwrap_or(Path::new(SYSTEM_FILE)).parent().map(here));
        read.extend(settings.models_dir());
        let models = [&settings.models.detector, &settings.models.backbone, &settings.models.fusion];
        let cards = models.iter().filter_map(|name| settings.card_path(name).ok());
        read.extend(cards.filter_map(|card| card.parent().map(here)));
        read.extend(settings.state.key_file.clone());
        let source = settings.source.as_ref().map(PathBuf::from);
        let is_device = source.as_deref().is_none_or(is_device);
        read.extend(source.or_else(|| settings.bundled_clip()).filter(|source| !source.starts_with("/dev")));
        let write = settings.state.dir.iter().cloned().chain(snapshot.map(Path::to_owned)).collect();
        Self { read, write, devices: is_device || settings.report.serial.port.is_some() }
    }
}

/// Whether `source` is a camera, which may come back under another name: in `/dev`, or a name elsewhere that leads there.
fn is_device(source: &Path) -> bool {
    source.starts_with("/dev") || fs::metadata(source).is_ok_and(|found| found.file_type().is_char_device())
}

/// `folder`, which is empty where a name stands alone.
fn here(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}

/// Binds this thread, and those it makes, to `paths`. What the kernel cannot do is told in the log.
pub(crate) fn confine_files(paths: &Paths) -> Result<()> {
    for folder in &paths.write {
        // What is not there cannot be allowed. Whoever needs the folder tells why it cannot be made.
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    }
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let change = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
    let devices: &[&str] = if paths.devices { &["/dev"] } else { &[] };
    let status = every_right()
        .and_then(|ruleset| {
            ruleset
                .create()?
                .add_rules(path_beneath_rules(&paths.read, read))?
                .add_rules(path_beneath_rules(&paths.write, read | change))?
                .add_rules(path_beneath_rules(devices, read | AccessFs::WriteFile | AccessFs::IoctlDev))?
                .restrict_self()
        })
        .context("sandbox: files")?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => info!("sandbox: files by Landlock, {}", version(status.landlock)),
        RulesetStatus::PartiallyEnforced => {
            let version = version(status.landlock);
            warn!("sandbox: files by Landlock, {version}: this kernel is too old for all of it (Linux 6.12 has it)");
        }
        RulesetStatus::NotEnforced => warn!("sandbox: files are not protected: {}", version(status.landlock)),
    }
    Ok(())
}

/// A set of rules that handles, and so forbids, all it knows.
fn every_right() -> Result<Ruleset, landlock::RulesetError> {
    let files: BitFlags<AccessFs> = AccessFs::from_all(WANTED);
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(files)?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))
}

fn version(status: LandlockStatus) -> String {
    match status {
        LandlockStatus::Available { effective_abi, .. } => format!("version {}", effective_abi as i32),
        LandlockStatus::NotEnabled => {
            "this kernel has Landlock, but does not start it (`lsm=landlock,...` on its command line does)".into()
        }
        LandlockStatus::NotImplemented => {
            "this kernel has no Landlock (Linux 5.13 has, with CONFIG_SECURITY_LANDLOCK)".into()
        }
    }
}

/// What the kernel can do, for `doctor`; the second says whether that is all.
pub(crate) fn available() -> (String, bool) {
    // Binding is the only way to ask, so a thread that ends is bound.
    let asked = std::thread::spawn(|| every_right().and_then(Ruleset::create)?.restrict_self()).join();
    let (files, all_files) = match asked {
        Ok(Ok(status)) => (version(status.landlock), status.ruleset == RulesetStatus::FullyEnforced),
        _ => ("Landlock does not answer".into(), false),
    };
    let calls = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
    let filter = if calls::KNOWN && calls { "seccomp" } else { "no seccomp" };
    (format!("files: Landlock, {files}; system calls: {filter}"), all_files && calls::KNOWN && calls)
}

/// Forbids all threads the system calls that the job does not need.
pub(crate) fn confine_calls() -> Result<()> {
    if calls::forbid()? {
        info!("sandbox: system calls by seccomp: no network, no other programs");
    } else {
        warn!("sandbox: system calls are not restricted: seccomp is not known for this processor");
    }
    Ok(())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod calls {
    use anyhow::{Context, Result};
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter_all_threads};

    pub(super) const KNOWN: bool = true;

    /// Not in every C library; the number of x86-64, and the one of all newer kinds of processor.
    const KEXEC_FILE_LOAD: libc::c_long = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

    /// What fails with `EPERM`.
    const FORBIDDEN: &[libc::c_long] = &[
        // Network, and sockets of any kind.
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        // Other programs.
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        // Ways around this filter, and wide doors into the kernel.
        libc::SYS_io_uring_setup,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        // The system.
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_open_by_handle_at,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        KEXEC_FILE_LOAD,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_acct,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_adjtimex,
        libc::SYS_clock_adjtime,
        libc::SYS_sethostname,
        libc::SYS_mknodat,
        libc::SYS_symlinkat,
        libc::SYS_linkat,
        // The same under their old numbers.
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mknod,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_symlink,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_link,
    ];

    /// The same calls with numbers of the x32 kind, which some kernels of x86-64 take: this bit, and numbers of its own
    /// for execve, ptrace, execveat and the two that look into other processes.
    const X32: libc::c_long = 0x4000_0000;
    const OWN_X32: [libc::c_long; 5] = [520, 521, 539, 540, 545];

    /// Whether that is done.
    pub(super) fn forbid() -> Result<bool> {
        let mut numbers = FORBIDDEN.to_vec();
        if cfg!(target_arch = "x86_64") {
            numbers.extend(FORBIDDEN.iter().chain(&OWN_X32).map(|number| number | X32));
        }
        let architecture = std::env::consts::ARCH.try_into().context("sandbox: system calls")?;
        let denied = SeccompAction::Errno(libc::EPERM as u32);
        let rules = numbers.into_iter().map(|number| (number, Vec::new())).collect();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, architecture);
        let program: BpfProgram = filter.and_then(TryInto::try_into).context("sandbox: system calls")?;
        apply_filter_all_threads(&program).context("sandbox: system calls")?;
        Ok(true)
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod calls {
    use anyhow::Result;

    pub(super) const KNOWN: bool = false;

    pub(super) fn forbid() -> Result<bool> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs::File;
    use std::io::Write;
    use std::process::Command;
    use std::thread;

    use serialport::{SerialPort, TTYPort};

    use super::*;

    const INSIDE: &str = "NFORMER_EDGE_TEST_SANDBOX";

    /// Runs in a process of its own, which is confined for good.
    fn inside(folder: &Path) {
        let (open, kept) = (folder.join("open"), folder.join("kept"));
        let read = vec![open.clone(), "/proc/self".into()];
        let paths = Paths { read, write: vec![kept.clone()], devices: true };
        confine_files(&paths).unwrap();
        confine_calls().unwrap();
        let work = || {
            // What the job does.
            assert_eq!(fs::read(open.join("file")).unwrap(), b"words");
            fs::write(kept.join("new"), "state").unwrap();
            fs::rename(kept.join("new"), kept.join("state")).unwrap();
            fs::remove_file(kept.join("state")).unwrap();
            assert!(fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:\t2"));
            fs::read_dir("/dev").unwrap();
            fs::write("/dev/null", "x").unwrap();
            // A device that is plugged in again: a file that was not there before, opened, asked by `ioctl` and written to.
            let (_other_end, plugged_in) = TTYPort::pair().unwrap();
            let name = plugged_in.name().unwrap();
            drop(plugged_in);
            let mut again = TTYPort::open(&serialport::new(&name, 115_200)).unwrap();
            again.write_all(b"x").unwrap();
            // What it does not.
            let mut refused = Vec::new();
            refused.push(("read", fs::read(folder.join("secret")).map(drop)));
            refused.push(("read a device's neighbour", fs::read("/etc/passwd").map(drop)));
            refused.push(("write where it may read", fs::write(open.join("file"), "other")));
            refused.push(("make", File::create(folder.join("made")).map(drop)));
            refused.push(("remove", fs::remove_file(open.join("file"))));
            refused.push(("link", std::os::unix::fs::symlink("/etc/passwd", kept.join("link"))));
            refused.push(("start a program", Command::new("/bin/true").status().map(drop)));
            refused.push(("use a socket of the network", open_socket()));
            refused.push(("use a local socket", std::os::unix::net::UnixStream::pair().map(drop)));
            for (what, outcome) in refused {
                let error = outcome.expect_err(what);
                assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{what}: {error}");
            }
        };
        work();
        // Threads are bound as the one that makes them.
        thread::scope(|scope| scope.spawn(work).join()).unwrap();
        println!("all of it refused");
    }

    fn open_socket() -> std::io::Result<()> {
        std::net::UdpSocket::bind("127.0.0.1:0").map(drop)
    }

    #[test]
    fn who_is_confined_does_the_job_and_nothing_else() {
        if let Some(folder) = env::var_os(INSIDE) {
            return inside(Path::new(&folder));
        }
        if !available().1 {
            println!("SKIPPED: {}", available().0);
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["open", "kept"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("open/file"), "words").unwrap();
        fs::write(folder.path().join("secret"), "not for everybody").unwrap();
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "cli::sandbox::tests::who_is_confined_does_the_job_and_nothing_else", "--nocapture"])
            .env(INSIDE, folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("all of it refused"), "{said}");
    }

    #[test]
    fn a_clip_needs_no_devices_and_a_camera_does() {
        let clip = Settings { source: Some("a/clip.avi".into()), ..Settings::default() };
        let paths = Paths::of(&clip, Some(Path::new("c.toml")), Some(Path::new("pictures")));
        assert!(!paths.devices && paths.read.contains(&"a/clip.avi".into()) && paths.read.contains(&".".into()));
        assert_eq!(paths.write, [Path::new("pictures")]);
        for source in [None, Some("/dev/video0".to_owned())] {
            let paths = Paths::of(&Settings { source, ..Settings::default() }, None, None);
            assert!(paths.devices && paths.read.contains(&"/etc/nformer-edge".into()), "{paths:?}");
        }
        // Also under a name elsewhere.
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("camera");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let linked = Settings { source: link.to_str().map(str::to_owned), ..Settings::default() };
        assert!(Paths::of(&linked, None, None).devices);
        let mut serial = clip;
        serial.report.serial.port = Some("/dev/ttyUSB0".into());
        assert!(Paths::of(&serial, None, None).devices);
    }
}
