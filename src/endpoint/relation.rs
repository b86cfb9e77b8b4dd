//! Whether two ends are known to be one store, or known to be two, before a record is read. Blocking, for milliseconds.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use url::Url;

use super::{Endpoint, serving};
use crate::engine::Relation;
use crate::store::files::DATABASE;

/// What is known in all: what was seen here counts before what was told, but for an address that says little.
#[must_use]
pub(super) const fn with(told: Relation, seen: Relation) -> Relation {
    match (told, seen) {
        (Relation::Same, _) | (_, Relation::Same) => Relation::Same,
        (_, Relation::Apart) => Relation::Apart,
        (Relation::Unasked, seen) => seen,
        (told, _) => told,
    }
}

/// What is known of both ends beside their contents: their files, and who serves them.
#[must_use]
pub(super) fn of(source: &Endpoint, target: &Endpoint) -> Relation {
    match (source, target) {
        (Endpoint::Local(a), Endpoint::Local(b)) => match (identity(&a.path), identity(&b.path)) {
            (Some(a), Some(b)) if a == b => Relation::Same,
            (Some(_), Some(_)) => Relation::Apart,
            _ => Relation::Unknown,
        },
        (Endpoint::Local(folder), Endpoint::Remote(server)) | (Endpoint::Remote(server), Endpoint::Local(folder)) => {
            match serving::process_has_files_of(&server.url, &folder.path) {
                Some(true) => Relation::Same,
                Some(false) => Relation::Unshared,
                // files can be reached from another machine, too
                None => Relation::Unknown,
            }
        }
        (Endpoint::Remote(a), Endpoint::Remote(b)) => {
            let (a, b) = (addresses(&a.url), addresses(&b.url));
            if a.iter().any(|address| b.contains(address)) { Relation::Same } else { Relation::Unshared }
        }
    }
}

/// Device and inode of a store's database.
fn identity(folder: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(folder.join(DATABASE)).ok().map(|about| (about.dev(), about.ino()))
}

fn addresses(url: &Url) -> Vec<SocketAddr> {
    let host = url.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']'));
    let Some((host, port)) = host.zip(url.port_or_known_default()) else { return Vec::new() };
    (host, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;
    use crate::store::http::ServerConfig;

    fn local(path: &Path) -> Endpoint {
        Endpoint::Local(Folder::new(path.to_owned()))
    }

    fn remote(url: &str) -> Endpoint {
        Endpoint::Remote(Box::new(ServerConfig::new(url.parse().unwrap())))
    }

    #[test]
    fn one_folder_under_two_names_is_the_same_and_a_copy_is_not() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(one.path().join(DATABASE), "").unwrap();
        let link = other.path().join("link");
        std::os::unix::fs::symlink(one.path(), &link).unwrap();
        assert_eq!(of(&local(one.path()), &local(&link)), Relation::Same);
        assert_eq!(of(&local(one.path()), &local(other.path())), Relation::Unknown);
        std::fs::write(other.path().join(DATABASE), "").unwrap();
        assert_eq!(of(&local(one.path()), &local(other.path())), Relation::Apart);
    }

    #[test]
    fn one_address_under_two_names_is_the_same() {
        assert_eq!(of(&remote("http://127.0.0.1:8000"), &remote("http://localhost:8000")), Relation::Same);
        assert_eq!(of(&remote("http://127.0.0.1:8000"), &remote("http://127.0.0.1:8001")), Relation::Unshared);
        assert_eq!(of(&remote("https://127.0.0.1"), &remote("http://127.0.0.1:443")), Relation::Same);
    }

    #[test]
    fn a_server_of_another_machine_may_have_any_files() {
        let folder = tempfile::tempdir().unwrap();
        // an address for documentation: of no machine
        assert_eq!(of(&local(folder.path()), &remote("http://192.0.2.1:8000")), Relation::Unknown);
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let ours = remote(&format!("http://{}", listener.local_addr().unwrap()));
        assert_eq!(of(&local(folder.path()), &ours), Relation::Unshared);
    }

    #[test]
    fn what_is_told_counts_where_nothing_better_was_seen() {
        use Relation::{Apart, Same, Unasked, Unknown, Unshared};
        for (told, seen, all) in [
            (Unasked, Unknown, Unknown),
            (Unasked, Unshared, Unshared),
            (Unshared, Unknown, Unshared),
            (Unknown, Unshared, Unknown),
            (Same, Unshared, Same),
            (Unshared, Same, Same),
            (Unknown, Same, Same),
            (Unknown, Apart, Apart),
        ] {
            assert_eq!(with(told, seen), all, "{told:?} {seen:?}");
        }
    }
}
