//! The machine of a run, as far as it explains the figures: without names, paths or users.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::Path;

/// The machine of the measurements.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The processor's model, and whether it is a virtual one.
    pub(crate) cpu: String,
    /// The number of processors available to the process.
    pub(crate) cores: usize,
    /// Memory in bytes.
    pub(crate) memory: u64,
    /// Distribution and kernel.
    pub(crate) system: String,
    /// Kind and file system of the disk with the files of the run.
    pub(crate) disk: String,
}

impl Machine {
    /// This machine, and the disk of `folder`.
    pub(crate) fn of(folder: &Path) -> Self {
        let cpus = read("/proc/cpuinfo");
        let model = field(&cpus, "model name").unwrap_or_else(|| "unknown processor".into());
        let is_virtual =
            cpus.lines().any(|l| l.starts_with("flags") && l.split_whitespace().any(|f| f == "hypervisor"));
        let kib = field(&read("/proc/meminfo"), "MemTotal").and_then(|m| m.split(' ').next()?.parse::<u64>().ok());
        let release = read("/etc/os-release");
        let name = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"');
        Self {
            cpu: if is_virtual { format!("{model}, virtual") } else { model },
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: kib.unwrap_or_default() * 1024,
            system: format!("{name}, Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            disk: disk(folder),
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|l| l.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_string())
}

/// Such as `ext4 on a solid-state disk`. A file system in memory has no disk, and is not durable.
fn disk(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let mounts = read("/proc/self/mounts");
    let holds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, mount, kind) = (fields.next()?, fields.next()?, fields.next()?);
        folder.starts_with(mount).then_some((mount.len(), kind))
    });
    let kind = holds.max().map_or("an unknown file system", |(_, kind)| kind);
    let turning = fs::metadata(&folder).ok().and_then(|m| {
        let device = m.st_dev();
        let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
        let block = format!("/sys/dev/block/{major}:{minor}");
        // A partition has no queue of its own; its disk is the parent folder.
        ["queue", "../queue"].iter().find_map(|q| fs::read_to_string(format!("{block}/{q}/rotational")).ok())
    });
    match turning.as_deref().map(str::trim) {
        Some("0") => format!("{kind} on a solid-state disk"),
        Some("1") => format!("{kind} on a turning disk"),
        _ => format!("{kind}, on an unknown disk"),
    }
}
