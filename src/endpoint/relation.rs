//! Whether two ends are known to be one store, or known to be two, before a record is read. Blocking, for milliseconds.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use url::Url;

use super::{Endpoint, serving};
use crate::engine::Relation;
use crate::store::files::DATABASE;

/// What is known of both ends beside their contents: their files, and who serves them.
#[must_use]
pub(super) fn of(source: &Endpoint, target: &Endpoint) -> Relation {
    let is_same = match (source, target) {
        (Endpoint::Local(a), Endpoint::Local(b)) => {
            return match (identity(&a.path), identity(&b.path)) {
                (Some(a), Some(b)) if a == b => Relation::Same,
                (Some(_), Some(_)) => Relation::Apart,
                _ => Relation::Unknown,
            };
        }
        (Endpoint::Local(folder), Endpoint::Remote(server)) | (Endpoint::Remote(server), Endpoint::Local(folder)) => {
            serving::process_has_files_of(&server.url, &folder.path) == Some(true)
        }
        (Endpoint::Remote(a), Endpoint::Remote(b)) => {
            let (a, b) = (addresses(&a.url), addresses(&b.url));
            a.iter().any(|address| b.contains(address))
        }
    };
    // that nothing was seen proves nothing: files can be reached from another machine, too
    if is_same { Relation::Same } else { Relation::Unknown }
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
        assert_eq!(of(&remote("http://127.0.0.1:8000"), &remote("http://127.0.0.1:8001")), Relation::Unknown);
        assert_eq!(of(&remote("https://127.0.0.1"), &remote("http://127.0.0.1:443")), Relation::Same);
    }
}
