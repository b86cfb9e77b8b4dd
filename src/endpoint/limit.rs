//! The memory that this process may use, as its control groups say: version 1 and 2. Reads only.

use std::fs;
use std::path::{Component, Path};

/// Version 1 writes about this where there is no limit (2^63 less a page).
const NONE: u64 = 1 << 60;

/// Bytes of memory that this process may use; None where nothing limits it, or nobody says.
pub(super) fn memory() -> Option<u64> {
    within(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"))
}

/// Bytes of memory that this process, or a server that it starts, may take: what the system has, within that limit; None where
/// nobody says.
pub(super) fn here() -> Option<u64> {
    of_a_server(memory())
}

/// The same for a server that has a limit of its own, as one beside us in the pod; 0 is none.
pub(super) fn of_a_server(limit: Option<u64>) -> Option<u64> {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    available.into_iter().chain(limit.filter(|limit| *limit > 0)).min()
}

/// The line `MemAvailable:   123 kB`, in bytes.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The lowest limit of the groups that the file `groups` names, and of those above them.
fn within(groups: &Path, mount: &Path) -> Option<u64> {
    let text = fs::read_to_string(groups).ok()?;
    let limits = text.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (root, file) = if controllers.is_empty() {
            (mount.to_owned(), "memory.max")
        } else if controllers.split(',').any(|one| one == "memory") {
            (mount.join("memory"), "memory.limit_in_bytes")
        } else {
            return Vec::new();
        };
        // a container sees its own group at the root, whatever path the file names; one outside of it begins with `..`
        let group = Path::new(group.trim_start_matches('/'));
        let is_below = group.components().all(|part| matches!(part, Component::Normal(_)));
        let group = if is_below { group } else { Path::new("") };
        let read = |group: &Path| fs::read_to_string(root.join(group).join(file)).ok()?.trim().parse::<u64>().ok();
        group.ancestors().filter_map(read).collect()
    });
    limits.filter(|limit| *limit < NONE).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit, for a process in `groups`, below a folder with these files.
    fn limit(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join("mount").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let process = folder.path().join("cgroup");
        fs::write(&process, groups).unwrap();
        within(&process, &folder.path().join("mount"))
    }

    #[test]
    fn the_lowest_limit_on_the_way_to_the_root_counts() {
        let pod = [
            ("memory.max", "max\n"),
            ("kubepods/pod1/memory.max", "268435456\n"),
            ("kubepods/pod1/a/memory.max", "max\n"),
        ];
        assert_eq!(limit("0::/kubepods/pod1/a\n", &pod), Some(268_435_456));
        assert_eq!(limit("0::/kubepods\n", &pod), None);
        assert_eq!(limit("0::/\n", &[("memory.max", "134217728\n")]), Some(134_217_728));
        // the host's path, of which a container's mount has only the end
        assert_eq!(limit("0::/../host/pod1\n", &[("memory.max", "1000000\n")]), Some(1_000_000));
        assert_eq!(limit("0::/kubepods/elsewhere\n", &[("memory.max", "1000000\n")]), Some(1_000_000));
    }

    #[test]
    fn version_1_says_it_in_the_folder_of_its_controller() {
        let groups = "12:cpu,cpuacct:/a\n7:memory:/docker/1\n1:name=systemd:/b\n0::/\n";
        assert_eq!(limit(groups, &[("memory/memory.limit_in_bytes", "536870912\n")]), Some(536_870_912));
        let of_group = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/docker/1/memory.limit_in_bytes", "5000000\n"),
        ];
        assert_eq!(limit(groups, &of_group), Some(5_000_000));
        assert_eq!(limit(groups, &of_group[..1]), None);
    }

    #[test]
    fn what_nobody_says_is_no_limit() {
        assert_eq!(limit("", &[]), None);
        assert_eq!(limit("0\n::\nx:memory\n", &[("memory.max", "soon")]), None);
        assert_eq!(within(Path::new("/nowhere"), Path::new("/nowhere")), None);
    }
}
