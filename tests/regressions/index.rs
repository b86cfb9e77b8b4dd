//! A damaged or foreign file of an index, and a header that cannot be believed: what the rows hold is read if other files
//! confirm where it lies. Each test spoils a store that a real Chroma wrote.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use memory_migration_operator::store::files::LocalStore;
use memory_migration_operator::store::{Reader, Remarks};

use crate::support::chroma::{ChromaServer, VERSIONS};
use crate::support::migration::{DEFAULT, Migration, local, remote};
use crate::support::stores::{Store, committed};

use super::files::{Vectors, folder, one, says};

/// Bytes of a file of a collection's index, changed.
fn change(store: &Store, collection: &str, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = folder(&store.path, collection).join(file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    age(&path);
}

/// Makes a file look as if nobody had written it for a while: what is wrong with one that was just written may not stay so.
pub(super) fn age(path: &Path) {
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn set(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

fn add(bytes: &mut [u8], at: usize, difference: i64) {
    let sum = number(bytes, at).wrapping_add_signed(difference);
    set(bytes, at, sum);
}

fn replace(path: &Path, by: impl FnOnce(&Path)) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
    by(path);
}

fn pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
}

fn folder_at(path: &Path) {
    fs::create_dir(path).unwrap();
}

fn link_to_itself(path: &Path) {
    symlink(path, path).unwrap();
}

fn device(path: &Path) {
    symlink("/dev/zero", path).unwrap();
}

/// What can be read is what was read before; the number of vectors.
#[track_caller]
fn readable(after: &Vectors, whole: &Vectors, case: &str) -> usize {
    assert_eq!(after.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>(), "{case}");
    for (id, vector) in after.iter().filter(|(_, vector)| vector.is_some()) {
        let far = vector.iter().flatten().zip(whole[id].iter().flatten()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(
            far.unwrap_or(0) <= 2 && vector.as_ref().map(Vec::len) == whole[id].as_ref().map(Vec::len),
            "{case}: {id}"
        );
    }
    after.values().flatten().count()
}

/// The rows of two indexes were swapped: 0.4, whose log keeps every vector, was read from the index alone, and 100 of another
/// collection's vectors were called verified.
#[tokio::test]
async fn rows_that_the_log_contradicts_are_read_from_the_log() {
    for version in ["0.4.24", "1.5.9"] {
        let store = committed(version);
        let whole = one(&store.path, "synced_l2").await;
        let [l2, ip] = ["synced_l2", "synced_ip"].map(|name| folder(&store.path, name).join("data_level0.bin"));
        let (rows, others) = (fs::read(&l2).unwrap(), fs::read(&ip).unwrap());
        fs::write(&l2, others).unwrap();
        fs::write(&ip, rows).unwrap();
        age(&l2);
        age(&ip);
        let after = one(&store.path, "synced_l2").await;
        if version == "0.4.24" {
            assert_eq!(after.vectors, whole.vectors);
            says(&after.remarks.notes, &["is not the index of \"synced_l2\"", "found elsewhere"]);
        } else {
            says(&after.remarks.damage, &["is not the index of \"synced_l2\"", "records cannot be read"]);
            for (id, vector) in after.vectors.iter().filter(|(_, vector)| vector.is_some()) {
                assert_eq!(vector, &whole.vectors[id], "{id}");
            }
        }
    }
}

/// A folder in place of a file, a file in place of the folder, a pipe: nothing of the whole store was read, or it hung.
#[tokio::test]
async fn what_is_no_file_costs_what_stood_in_it_and_no_more() {
    type Spoil = (&'static str, fn(&Path), &'static str);
    let kinds: [Spoil; 4] = [
        ("a folder", folder_at, "is a folder, where a file is expected"),
        ("a pipe", pipe, "is a pipe, where a file is expected"),
        ("a loop", link_to_itself, "cannot be read (Too many levels"),
        ("a device", device, "is a device, where a file is expected"),
    ];
    for version in ["0.4.24", "0.6.3", "1.5.9"] {
        for (how, spoil, words) in kinds {
            for file in ["data_level0.bin", "header.bin", "length.bin", "index_metadata.pickle"] {
                let case = format!("{version}: {how} in place of {file}");
                let store = committed(version);
                let whole = one(&store.path, "synced_cosine").await;
                replace(&folder(&store.path, "synced_cosine").join(file), spoil);
                let after = one(&store.path, "synced_cosine").await;
                let count = readable(&after.vectors, &whole.vectors, &case);
                let Remarks { damage, notes, .. } = &after.remarks;
                says(&[damage.clone(), notes.clone()].concat(), &[file, words]);
                if version == "0.4.24" || file == "header.bin" {
                    // the log has all, or the layout is derived
                    assert_eq!(count, whole.vectors.len(), "{case}");
                } else {
                    assert!(count < whole.vectors.len() && !damage.is_empty(), "{case}: {count}");
                }
                assert!(one(&store.path, "synced_l2").await.remarks.damage.is_empty(), "{case}");
            }
        }
        let store = committed(version);
        let whole = one(&store.path, "synced_l2").await;
        replace(&folder(&store.path, "synced_l2"), |path| fs::write(path, "no folder").unwrap());
        let after = one(&store.path, "synced_l2").await;
        let count = readable(&after.vectors, &whole.vectors, version);
        assert_eq!(count == whole.vectors.len(), version == "0.4.24", "{version}: {count}");
        let told = [after.remarks.damage, after.remarks.notes].concat();
        says(&told, &["is a file, where a folder is expected"]);
        // the norms of an l2 index are not needed
        let store = committed(version);
        replace(&folder(&store.path, "synced_l2").join("length.bin"), pipe);
        let after = one(&store.path, "synced_l2").await;
        assert_eq!(readable(&after.vectors, &whole.vectors, version), whole.vectors.len());
        assert!(after.remarks.damage.is_empty(), "{version}: {:?}", after.remarks);
    }
}

/// hnswlib reads 100 bytes of a header, and has no use for capacity and links: 45 of 46 rows were lost for them.
#[tokio::test]
async fn a_header_that_chroma_takes_is_taken() {
    type Spoil = (&'static str, fn(&mut Vec<u8>));
    let spoil: [Spoil; 4] = [
        ("20 more bytes", |header| header.extend([7; 20])),
        ("no links", |header| set(header, 68, 0)),
        ("no capacity", |header| set(header, 12, 0)),
        ("another entry", |header| header[56..60].copy_from_slice(&[9; 4])),
    ];
    for version in VERSIONS {
        for (how, spoil) in spoil {
            let store = committed(version);
            let whole = one(&store.path, "synced_cosine").await;
            change(&store, "synced_cosine", "header.bin", spoil);
            let after = one(&store.path, "synced_cosine").await;
            assert_eq!(after.vectors, whole.vectors, "{version}: {how}");
            assert!(after.remarks.damage.is_empty() && after.remarks.notes.is_empty(), "{version}: {how}");
        }
    }
}

type Spoil = (&'static str, fn(&mut Vec<u8>));
type OfStore = (&'static str, fn(&Store));

fn headers() -> [Spoil; 11] {
    [
        ("zeros", |header| header.fill(0)),
        ("40 bytes", |header| header.truncate(40)),
        ("nothing", Vec::clear),
        ("version 99", |header| header[0] = 99),
        ("another start", |header| set(header, 4, 8)),
        ("ten rows fewer", |header| add(header, 20, -10)),
        ("more rows than the file has", |header| set(header, 20, 1 << 30)),
        ("longer rows", |header| add(header, 28, 8)),
        ("the label elsewhere", |header| add(header, 36, -4)),
        ("the vector elsewhere", |header| add(header, 44, 4)),
        // a layout without a contradiction: that of rows with two links more
        ("all of it shifted", |header| [28, 36, 44].into_iter().for_each(|at| add(header, at, 16))),
    ]
}

/// A damaged header cost all rows of a file that was whole. The layout follows from the collection's settings, and is
/// believed if the files confirm it.
#[tokio::test]
async fn without_its_header_an_index_has_its_rows() {
    for version in VERSIONS {
        for name in ["synced_l2", "synced_cosine", "wide_cosine"] {
            for (how, spoil) in headers().into_iter().filter(|(how, _)| name == "synced_cosine" || *how == "zeros") {
                let case = format!("{version} {name}: {how}");
                let store = committed(version);
                let whole = one(&store.path, name).await;
                change(&store, name, "header.bin", spoil);
                let after = one(&store.path, name).await;
                assert_eq!(readable(&after.vectors, &whole.vectors, &case), whole.vectors.len(), "{case}");
                let Remarks { damage, notes, .. } = after.remarks;
                let parts = ["header.bin is damaged", "The layout was derived", "data_level0.bin confirms it"];
                says(&notes, &parts);
                assert_eq!(damage, Vec::<String>::new(), "{case}");
            }
            let store = committed(version);
            let whole = one(&store.path, name).await;
            fs::remove_file(folder(&store.path, name).join("header.bin")).unwrap();
            let after = one(&store.path, name).await;
            assert_eq!(readable(&after.vectors, &whole.vectors, version), whole.vectors.len(), "{version}");
            says(
                &[after.remarks.damage, after.remarks.notes].concat(),
                &["header.bin is missing. The layout was derived"],
            );
        }
    }
}

/// What does not confirm a layout: it is not used, and no vector is made of other bytes.
#[tokio::test]
async fn a_layout_that_the_files_do_not_confirm_is_not_used() {
    let zeros = |store: &Store| change(store, "synced_l2", "header.bin", |header| header.fill(0));
    for version in ["0.6.3", "1.5.9"] {
        let whole = one(&committed(version).path, "synced_l2").await;
        let in_index = whole.vectors.len() - whole.from_log.len();
        let spoils: [OfStore; 4] = [
            ("labels of other records", |store| {
                change(store, "synced_l2", "data_level0.bin", |data| {
                    (0..data.len() / 152).for_each(|row| set(data, row * 152 + 144, 10_000 + row as u64));
                });
            }),
            ("another dimension", |store| {
                let tables = rusqlite::Connection::open(store.path.join("chroma.sqlite3")).unwrap();
                tables.execute("update collections set dimension = 5 where name = 'synced_l2'", []).unwrap();
            }),
            ("other norms", |store| change(store, "synced_l2", "length.bin", |norms| norms.truncate(40))),
            ("half a row more", |store| change(store, "synced_l2", "data_level0.bin", |data| data.extend([0; 76]))),
        ];
        for (how, spoil) in spoils {
            let case = format!("{version}: {how}");
            let store = committed(version);
            zeros(&store);
            spoil(&store);
            let after = one(&store.path, "synced_l2").await;
            if how == "another dimension" {
                let lost = after.vectors.values().filter(|vector| vector.is_none()).count();
                assert!(lost >= in_index, "{case}: {lost} of {in_index}");
            } else {
                let count = readable(&after.vectors, &whole.vectors, &case);
                assert!(count < whole.vectors.len() / 4, "{case}: {count}");
            }
            says(&after.remarks.damage, &["header.bin is damaged"]);
            assert!(!after.remarks.damage.iter().any(|what| what.contains("derived")), "{case}: {:?}", after.remarks);
        }
        // two rows with one label: nobody knows whose they are
        let store = committed(version);
        zeros(&store);
        let mut twice = BTreeSet::new();
        change(&store, "synced_l2", "data_level0.bin", |data| {
            let rows: Vec<usize> = (0..40).filter(|row| data[row * 152 + 2] & 1 == 0).collect();
            let (a, b) = (rows[5] * 152 + 144, rows[6] * 152 + 144);
            twice.extend([number(data, a), number(data, b)]);
            let label = number(data, b);
            set(data, a, label);
        });
        let after = one(&store.path, "synced_l2").await;
        let lost = after.vectors.values().filter(|vector| vector.is_none()).count();
        assert!((1..=2).contains(&lost), "{version}: {lost} lost, labels {twice:?}");
        readable(&after.vectors, &whole.vectors, version);
    }
}

/// As a person sees it: the records are copied and compared, and the verdict says what was damaged.
#[test]
fn a_collection_without_its_header_is_copied() {
    for version in ["0.4.24", "0.6.3", "1.5.9"] {
        let (store, into) = (committed(version), Store::absent());
        change(&store, "synced_l2", "header.bin", |header| header.fill(0));
        let target = ChromaServer::start("1.5.9", &into.path);
        let run = Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT)).only(&["synced_l2"]);
        let report = run.verified();
        assert_eq!(report.count("unreadable"), 0, "{version}");
        assert_eq!(report.count("verified"), report.count("source"), "{version}");
        report.says(&["header.bin is damaged", "The layout was derived from the collection's settings"]);
    }
}

/// An id that is no text: "counts 15 records and lists 14: its answers are cut short, by a gateway", of a folder.
#[tokio::test]
async fn an_id_that_is_no_text_is_named_by_its_row() {
    for version in VERSIONS {
        let (store, into) = (committed(version), Store::absent());
        let whole = one(&store.path, "synced_l2").await;
        let tables = rusqlite::Connection::open(store.path.join("chroma.sqlite3")).unwrap();
        let of = "select e.id from embeddings e join segments s on s.id = e.segment_id join collections c on c.id = \
                  s.collection where c.name = 'synced_l2' order by e.id limit 2";
        let rows: Vec<i64> =
            tables.prepare(of).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let sql = format!(
            "update embeddings set embedding_id = cast(x'61ff' as text) where id = {}; \
             update embeddings set embedding_id = x'61ff62' where id = {};",
            rows[0], rows[1]
        );
        tables.execute_batch(&sql).unwrap();
        drop(tables);
        let reader = LocalStore::open(&store.path, "default_tenant", "default_database").await.unwrap();
        let collection = reader.collections().await.unwrap().into_iter().find(|one| one.name == "synced_l2").unwrap();
        let (ids, count) = reader.listing(&collection).await.unwrap();
        // 0.4 never purges its log, which has both
        let left = if version == "0.4.24" { whole.vectors.len() } else { whole.vectors.len() - 2 };
        assert!(ids.len() as u64 == count && ids.len() >= left - 2, "{version}: {} and {count}", ids.len());
        let damage = reader.remarks(&collection).await.unwrap().damage;
        let row = format!("the first is row {}: no UTF-8", rows[0]);
        says(&damage, &["2 rows of the table embeddings with an id that is no text", &row]);
        assert!(!damage.iter().any(|what| what.contains("do not agree")), "{version}: {damage:?}");
        let target = ChromaServer::start("1.5.9", &into.path);
        let run = Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT)).only(&["synced_l2"]);
        let report = run.ends(5);
        report.says(&["id that is no text", "were copied and compared"]);
        assert!(!report.message().contains("gateway"), "{version}: {}", report.message());
    }
}
