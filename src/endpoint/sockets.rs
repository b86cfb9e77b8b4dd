//! What the kernel says of listening sockets and of processes, as text and as values. Pure: reads no file.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A socket that a process listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// The socket's number, as it stands in `/proc/PID/fd`.
    pub(super) inode: u64,
}

impl Listener {
    /// Whether a connection to this address and port ends here.
    pub(super) fn takes(&self, address: IpAddr, port: u16) -> bool {
        let plain = |address: IpAddr| match address {
            IpAddr::V6(address) => address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        let (own, wanted) = (plain(self.address), plain(address));
        let any = match (own, wanted) {
            // an IPv6 socket on every address takes IPv4, too, unless it was told not to
            (IpAddr::V6(own), _) => own.is_unspecified(),
            (IpAddr::V4(own), IpAddr::V4(_)) => own.is_unspecified(),
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        };
        self.port == port && (any || own == wanted)
    }
}

/// The listening sockets of `/proc/net/tcp` or `/proc/net/tcp6`; lines of another shape are passed over.
pub(super) fn listeners(table: &str) -> Vec<Listener> {
    table.lines().filter_map(listener).collect()
}

fn listener(line: &str) -> Option<Listener> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    // after the local address: the remote one and the state, then queues, timer, retries, user and timeout
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Listener { address: self::address(address)?, port: u16::from_str_radix(port, 16).ok()?, inode })
}

/// Words of 32 bits, each in the machine's own byte order.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let mut bytes = [0; 16];
            bytes.copy_from_slice(words.as_flattened());
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// The inode of a descriptor that is a socket: `socket:[123]`.
pub(super) fn socket(descriptor: &str) -> Option<u64> {
    descriptor.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The parent in `/proc/PID/stat`, whose second field is a command in brackets that may hold any character.
pub(super) fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Whether `/proc/PID/stat` is that of a process that has not ended, waited for (Z) or not.
pub(super) fn is_running(stat: &str) -> bool {
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}

/// A process and all that come from it, by each one's parent.
pub(super) fn descendants(root: u32, parents: &HashMap<u32, u32>) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        found.extend(
            parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(child, _)| *child).collect::<Vec<_>>(),
        );
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As a kernel prints it, cut to what is read.
    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0\n   \
        1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1 0 100 0 0 10 0\n   \
        2: 0100007F:1F40 0100007F:C001 01 00000000:00000000 00:00000000 00000000  1000        0 99 1 0 20 4 0 10 -1\n";
    const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue\n   \
        0: 00000000000000000000000000000000:1F41 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 6 1 0 100 0 0 10 0\n   \
        1: 0000000000000000FFFF00000100007F:1F42 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0 100 0 0 10 0\n   \
        2: 00000000000000000000000001000000:1F43 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 8 1 0 100 0 0 10 0\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_tables_are_read() {
        let v4: Vec<_> = listeners(TCP).into_iter().map(|l| (l.address.to_string(), l.port, l.inode)).collect();
        assert_eq!(v4, [("127.0.0.1".to_owned(), 8000, 4711), ("0.0.0.0".to_owned(), 22, 22)]);
        let v6: Vec<_> = listeners(TCP6).into_iter().map(|l| (l.address.to_string(), l.port, l.inode)).collect();
        let expected = [("::", 8001, 6), ("::ffff:127.0.0.1", 8002, 7), ("::1", 8003, 8)];
        assert_eq!(v6, expected.map(|(address, port, inode)| (address.to_owned(), port, inode)));
    }

    #[test]
    fn a_connection_ends_at_the_socket_that_takes_it() {
        for (own, wanted, taken) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("0.0.0.0", "127.0.0.1", true),
            ("::", "127.0.0.1", true),
            ("::", "::1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("127.0.0.1", "10.0.0.1", false),
            ("0.0.0.0", "::1", false),
            ("::1", "127.0.0.1", false),
        ] {
            let listener = Listener { address: own.parse().unwrap(), port: 80, inode: 1 };
            assert_eq!(listener.takes(wanted.parse().unwrap(), 80), taken, "{own} {wanted}");
            assert!(!listener.takes(wanted.parse().unwrap(), 81));
        }
    }

    #[test]
    fn sockets_and_parents() {
        assert_eq!(socket("socket:[4711]"), Some(4711));
        assert_eq!([socket("pipe:[1]"), socket("/dev/null"), socket("socket:[x]")], [None, None, None]);
        assert_eq!(parent("12 (sh) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent("12 (a) b) (c)) R 8 12"), Some(8));
        assert_eq!([parent(""), parent("12 (sh) S"), parent("12 sh S 7")], [None, None, None]);
        assert!(is_running("12 (sh) S 7") && !is_running("12 (Z) Z 7") && !is_running(""));
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (9, 8), (8, 9)]);
        assert_eq!(descendants(2, &parents), BTreeSet::from([2, 3, 4]));
        assert_eq!(descendants(7, &parents), BTreeSet::from([7]));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = (listeners(&text), socket(&text), parent(&text));
        }
    }
}
