//! Which file system a directory is on.

use std::fmt;
use std::path::Path;

use anyhow::Context as _;

const MOUNTS: &str = "/proc/self/mounts";
/// File systems that forget all with the power.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// A file system.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// Such as `ext4`.
    kind: String,
    /// Such as `/dev/vda`.
    device: String,
}

impl Disk {
    pub(super) fn is_memory(&self) -> bool {
        IN_MEMORY.contains(&self.kind.as_str())
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.kind, self.device)
    }
}

/// That which `directory` is on.
pub(super) fn of(directory: &Path) -> anyhow::Result<Disk> {
    let shown = directory.display();
    let path = directory
        .canonicalize()
        .with_context(|| format!("{shown}"))?;
    let mounts = std::fs::read_to_string(MOUNTS).context(MOUNTS)?;
    find(&path, &mounts).with_context(|| format!("{shown} is on no file system of {MOUNTS}"))
}

/// The mount that `path` is under: the innermost, and of several on one place the last. One with
/// spaces in its name is not known by it.
fn find(path: &Path, mounts: &str) -> Option<Disk> {
    let lines = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
        path.starts_with(place).then_some((device, place, kind))
    });
    let innermost = lines.max_by_key(|(_, place, _)| place.len())?;
    Some(Disk {
        kind: innermost.2.to_owned(),
        device: innermost.0.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "\
/dev/vda / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
tmpfs /run tmpfs rw 0 0
none /data xfs rw 0 0
/dev/vdb /data ext4 rw 0 0
";
        for (path, expected) in [
            ("/", "ext4 on /dev/vda"),
            ("/runner", "ext4 on /dev/vda"),
            ("/run/user", "tmpfs on tmpfs"),
            ("/data/here", "ext4 on /dev/vdb"),
        ] {
            let disk = find(Path::new(path), mounts).expect("the root is mounted");
            assert_eq!(disk.to_string(), expected, "{path}");
            assert_eq!(disk.is_memory(), path.starts_with("/run/"), "{path}");
        }
        assert_eq!(find(Path::new("/"), ""), None);
    }

    #[test]
    fn the_directory_of_tests_is_on_one() {
        of(&std::env::temp_dir()).expect("everything is on a file system");
        assert!(of(Path::new("/absent")).is_err());
    }
}
