//! Which processes of this machine answer at an address, and what files they have open, as far as /proc tells.
//! Reads /proc only; blocking, for milliseconds.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use url::Url;

use super::sockets::{self, Listener};

/// Whether all that takes connections to this port of the loopback interface belongs to a process or what came from it;
/// None where /proc does not tell.
#[must_use]
pub(super) fn is_port_of(root: u32, port: u16) -> Option<bool> {
    let listeners = listening(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], port)?;
    let ours = sockets::descendants(root, &parents()?);
    let held: BTreeSet<u64> = ours.iter().flat_map(|pid| sockets_of(*pid).unwrap_or_default()).collect();
    Some(!listeners.is_empty() && listeners.iter().all(|listener| held.contains(&listener.inode)))
}

/// Whether a process of this machine that answers at the server's URL has files of this folder open, or was told to serve
/// it. None where that cannot be known: the server is on another machine or in another container, or belongs to a user
/// whose processes this one may not look at.
#[must_use]
pub fn process_has_files_of(server: &Url, folder: &Path) -> Option<bool> {
    let port = server.port_or_known_default()?;
    let host = server.host_str()?.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<IpAddr> = (host, port).to_socket_addrs().ok()?.map(|address| address.ip()).collect();
    if addresses.is_empty() || !addresses.iter().all(|address| is_of_this_machine(*address)) {
        return None;
    }
    let inodes: BTreeSet<u64> = listening(&addresses, port)?.iter().map(|listener| listener.inode).collect();
    let parents = parents()?;
    let holds = |pid: &u32| sockets_of(*pid).is_some_and(|held| !held.is_disjoint(&inodes));
    let owners: Vec<u32> = parents.keys().copied().filter(holds).collect();
    if inodes.is_empty() || owners.is_empty() {
        return None;
    }
    let files = files_below(folder);
    let mut known = true;
    for pid in owners.iter().flat_map(|owner| sockets::descendants(*owner, &parents)).collect::<BTreeSet<_>>() {
        match uses(pid, folder, &files) {
            Some(true) => return Some(true),
            Some(false) => {}
            // one that ended meanwhile uses nothing
            None => known &= !is_running(pid),
        }
    }
    known.then_some(false)
}

/// The sockets that take connections to one of these addresses; None where the kernel does not show them.
fn listening(addresses: &[IpAddr], port: u16) -> Option<Vec<Listener>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    if tables.iter().all(Result::is_err) {
        return None;
    }
    let all = tables.iter().flatten().flat_map(|table| sockets::listeners(table));
    Some(all.filter(|listener| addresses.iter().any(|address| listener.takes(*address, port))).collect())
}

/// Only an address of this machine can be bound.
fn is_of_this_machine(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Each process's parent.
fn parents() -> Option<HashMap<u32, u32>> {
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid| sockets::parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    Some(pids.filter_map(|pid| Some((pid, parent(pid)?))).collect())
}

fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    sockets::is_running(&stat)
}

/// The sockets that a process has open; None where it may not be looked at.
fn sockets_of(pid: u32) -> Option<BTreeSet<u64>> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let targets = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    Some(targets.filter_map(|target| sockets::socket(target.to_str()?)).collect())
}

/// Device and inode of each file below a folder: the same file has them under any other path, also in a container.
fn files_below(folder: &Path) -> BTreeSet<(u64, u64)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(entry.path()),
                Ok(about) => drop(found.insert((about.dev(), about.ino()))),
                Err(_) => {}
            }
        }
    }
    found
}

/// Whether a process has one of the files open, or the folder among its arguments: a server may close a file that it
/// does not use at the moment. None where that cannot be known.
fn uses(pid: u32, folder: &Path, files: &BTreeSet<(u64, u64)>) -> Option<bool> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let open = descriptors.flatten().filter_map(|descriptor| fs::metadata(descriptor.path()).ok());
    if open.map(|about| (about.dev(), about.ino())).any(|file| files.contains(&file)) {
        return Some(true);
    }
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let (root, here) = (format!("/proc/{pid}/root"), fs::read_link(format!("/proc/{pid}/cwd")).ok()?);
    let identity = |path: &Path| fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
    let wanted = identity(folder)?;
    let named = arguments.split(|byte| *byte == 0).filter(|argument| !argument.is_empty()).any(|argument| {
        let argument = std::os::unix::ffi::OsStrExt::from_bytes(argument);
        let path = here.join(Path::new::<OsStr>(argument));
        identity(&Path::new(&root).join(path.strip_prefix("/").unwrap_or(&path))) == Some(wanted)
    });
    Some(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_is_told_to_be_ours_or_another_ones() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(is_port_of(std::process::id(), port), Some(true));
        assert_eq!(is_port_of(other.id(), port), Some(false));
        drop(listener);
        assert_eq!(is_port_of(std::process::id(), port), Some(false));
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_process_that_serves_a_folder_is_told_from_one_that_does_not() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        std::fs::create_dir(folder.path().join("index")).unwrap();
        let open = std::fs::File::create(folder.path().join("index/data.bin")).unwrap();
        assert_eq!(process_has_files_of(&url, folder.path()), Some(true));
        assert_eq!(process_has_files_of(&url, other.path()), Some(false));
        drop(open);
        assert_eq!(process_has_files_of(&url, folder.path()), Some(false));
        drop(listener);
        assert_eq!(process_has_files_of(&url, folder.path()), None);
        // an address for documentation: of no machine
        assert_eq!(process_has_files_of(&"http://192.0.2.1:8000".parse().unwrap(), folder.path()), None);
    }
}
