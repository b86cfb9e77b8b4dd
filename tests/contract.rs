//! One suite over every kind of store, against servers of real Chroma versions.
//! Knows of a store only what `Reader` and `Writer` say, except where it opens one.

use std::collections::BTreeSet;

use memory_migration_operator::chroma::{NewCollection, rules};
use memory_migration_operator::model::{Collection, Distance, Error, Fetched, Metadata, Record, Value, ulp};
use memory_migration_operator::store::files::LocalStore;
use memory_migration_operator::store::http::{self, HttpStore, HttpWriter, ServerConfig};
use memory_migration_operator::store::{Amendment, Reader, Writer};

use super::support::chroma::{ChromaServer, VERSIONS};
use super::support::stores::committed;

const WRITABLE: [&str; 4] = ["0.5.23", "0.6.3", "1.0.20", "1.5.9"];

/// A configuration for a server that already answers.
pub(crate) fn config(server: &ChromaServer) -> ServerConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    ServerConfig::new(server.url.parse().unwrap())
}

/// Opens a server to read from.
pub(crate) async fn open(server: &ChromaServer) -> HttpStore {
    http::open(config(server)).await.unwrap()
}

/// Opens a server to write to.
pub(crate) async fn writer(server: &ChromaServer) -> HttpWriter {
    open(server).await.into_writer().await.unwrap()
}

fn new(name: &str, metadata: Metadata) -> NewCollection {
    NewCollection {
        database: None,
        name: name.into(),
        metadata,
        configuration: None,
        schema: None,
        later: Metadata::new(),
        losses: Vec::new(),
        lost: Vec::new(),
    }
}

fn metadata<const N: usize>(pairs: [(&str, Value); N]) -> Metadata {
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

fn record(id: &str) -> Record {
    Record { id: id.into(), embedding: vec![0.1, -2.5, 1e-40], document: None, uri: None, metadata: Metadata::new() }
}

fn difficult() -> Vec<Record> {
    let text = "a \"quote\" '\u{0}\n\t é 🙂 שלום";
    let mut full = record(text);
    full.document = Some(text.into());
    full.uri = Some("file:///x y".into());
    full.metadata = metadata([
        ("s", Value::Str(String::new())),
        (text, Value::Str(text.into())),
        ("max", Value::Int(i64::MAX)),
        ("min", Value::Int(i64::MIN)),
        ("past 2^53", Value::Int((1 << 53) + 1)),
        ("one", Value::Float(1.0)),
        ("tiny", Value::Float(5e-324)),
        ("yes", Value::Bool(true)),
        ("no", Value::Bool(false)),
    ]);
    let mut empty = record("empty document");
    empty.document = Some(String::new());
    let mut only_uri = record("only a uri");
    only_uri.uri = Some("u".into());
    vec![full, empty, only_uri, record("nothing but a vector")]
}

async fn everything(reader: &dyn Reader, collection: &Collection) -> Vec<Record> {
    let ids: Vec<String> = reader.ids(collection).await.unwrap().iter().map(Result::unwrap).collect();
    assert_eq!(reader.count(collection).await.unwrap(), ids.len() as u64);
    let mut records: Vec<Record> = reader
        .fetch(collection, &ids)
        .await
        .unwrap()
        .into_iter()
        .map(|fetched| match fetched {
            Fetched::Record { record, .. } => record,
            Fetched::Unreadable { id, why } => panic!("{id}: {why}"),
        })
        .collect();
    records.sort_by(|a, b| a.id.cmp(&b.id));
    records
}

async fn the_only(reader: &dyn Reader) -> Collection {
    let mut collections = reader.collections().await.unwrap();
    assert_eq!(collections.len(), 1);
    collections.remove(0)
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    for version in WRITABLE {
        let folder = tempfile::tempdir().unwrap();
        let server = ChromaServer::start(version, folder.path());
        let writer = writer(&server).await;
        let wished = metadata([("a", Value::Int(1)), ("b", Value::Float(1.0)), ("c", Value::Bool(true))]);
        let collection = writer.create(&new("memories", wished.clone())).await.unwrap();
        assert_eq!(collection.metadata, wished, "{version}");
        writer.add(&collection, &difficult()).await.unwrap();
        let mut expected = difficult();
        expected.sort_by(|a, b| a.id.cmp(&b.id));
        let listed = the_only(&writer).await;
        assert_eq!((&listed.id, listed.dimension), (&collection.id, Some(3)), "{version}");
        assert_eq!(everything(&writer, &listed).await, expected, "{version}");

        let gone = writer.fetch(&listed, &["not there".into(), "only a uri".into()]).await.unwrap();
        assert_eq!(gone.iter().map(Fetched::id).collect::<Vec<_>>(), ["only a uri"]);

        let mut changed = expected.iter().find(|r| !r.metadata.is_empty()).unwrap().clone();
        changed.metadata.remove("tiny");
        changed.metadata.insert("new".into(), Value::Int(7));
        changed.document = Some("changed".into());
        changed.uri = Some("changed".into());
        changed.embedding = vec![1.0, 2.0, 3.0];
        let amendment = Amendment { record: changed.clone(), surplus: vec!["tiny".into()] };
        writer.update(&listed, &[amendment]).await.unwrap();
        let read = everything(&writer, &listed).await;
        assert_eq!(read.iter().find(|r| r.id == changed.id), Some(&changed), "{version}");

        if writer.capabilities().arrays {
            let scalars = [Value::Str(String::new()), Value::Int(i64::MIN), Value::Float(1.0), Value::Bool(false)];
            let lists = scalars.map(|value| Value::List(vec![value.clone(), value]));
            let lists = lists.into_iter().enumerate().map(|(n, list)| (n.to_string(), list)).collect();
            let arrays = Record { metadata: lists, ..record("arrays") };
            writer.add(&listed, std::slice::from_ref(&arrays)).await.unwrap();
            assert!(everything(&writer, &listed).await.contains(&arrays), "{version}");
            writer.delete(&listed, &["arrays".into()]).await.unwrap();
        }
        writer.delete(&listed, &["only a uri".into()]).await.unwrap();
        assert_eq!(writer.ids(&listed).await.unwrap().len(), 3, "{version}");
        let twice = writer.create(&new("memories", Metadata::new())).await;
        assert!(matches!(twice, Err(Error::Rejected { status: 409, .. })), "{version}: {twice:?}");
    }
}

/// Over HTTP without content, which every version has to take; from files beside it.
#[tokio::test]
async fn what_is_held_is_told_by_id() {
    for version in VERSIONS {
        let (live, copy) = (committed(version), committed(version));
        let server = ChromaServer::start(version, &live.path);
        let over_http = open(&server).await;
        let from_files = LocalStore::open(&copy.path, "default_tenant", "default_database").await.unwrap();
        let readers: [&dyn Reader; 2] = [&over_http, &from_files];
        let mut asked = 0;
        for reader in readers {
            for collection in reader.collections().await.unwrap() {
                let listed = reader.ids(&collection).await.unwrap();
                let ids: BTreeSet<String> = listed.iter().map(Result::unwrap).collect();
                let others = ids.iter().map(|id| format!("{id} of nobody")).chain(["nobody".to_owned()]);
                let all: BTreeSet<String> = ids.iter().cloned().chain(others).collect();
                let held = reader.held(&collection, &all.into_iter().collect::<Vec<_>>()).await.unwrap();
                asked += held.len();
                assert_eq!(held.into_iter().collect::<BTreeSet<_>>(), ids, "{version}: {}", collection.name);
            }
        }
        assert!(asked > 100, "{version}: {asked}");
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    for version in VERSIONS {
        let folder = tempfile::tempdir().unwrap();
        let server = ChromaServer::start(version, folder.path());
        let store = open(&server).await;
        assert!(store.collections().await.unwrap().is_empty(), "{version}");
        let gone = Collection {
            id: "00000000-0000-0000-0000-000000000001".into(),
            name: "gone".into(),
            tenant: "default_tenant".into(),
            database: "default_database".into(),
            dimension: None,
            distance: Distance::L2,
            metadata: Metadata::new(),
            configuration: None,
            schema: None,
            unreadable: None,
        };
        for error in [
            store.count(&gone).await.unwrap_err(),
            store.ids(&gone).await.unwrap_err(),
            store.fetch(&gone, &["a".into()]).await.unwrap_err(),
        ] {
            assert!(matches!(&error, Error::NotFound { what, .. } if what.contains("gone")), "{version}: {error}");
        }
        let mut config = config(&server);
        config.database = "no such".into();
        let error = http::open(config).await.unwrap().collections().await.unwrap_err();
        assert!(matches!(&error, Error::NotFound { what, .. } if what.contains("no such")), "{version}: {error}");
    }
}

#[tokio::test]
async fn a_server_with_only_v1_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let server = ChromaServer::start("0.4.24", folder.path());
    let store = open(&server).await;
    assert_eq!(store.version(), "Chroma 0.4.24 (API v1)");
    let error = store.into_writer().await.unwrap_err();
    assert!(error.to_string().contains("0.5.16"), "{error}");
}

/// Numbers that look random and are the same in every run.
fn noise(seed: u32) -> impl Iterator<Item = f32> {
    let mut state = seed;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(f32::from(i16::from_le_bytes([state.to_le_bytes()[2], state.to_le_bytes()[3]])) / 32_768.0)
    })
}

/// Ordinary vectors of a dimension, and some whose components differ by many magnitudes.
fn vectors(dimension: usize) -> Vec<Vec<f32>> {
    let ordinary = (0..60).map(|n| noise(n).take(dimension).collect());
    let steep = (0..60_u32).map(|n| {
        let exponents = noise(1000 + n).map(|e| 10_f32.powf(e * 38.0));
        noise(n).zip(exponents).map(|(c, e)| c * e).take(dimension).collect()
    });
    let scaled =
        (0..40_i32).map(|n| noise(n.unsigned_abs()).take(dimension).map(|c| c * 10_f32.powi(2 * n - 40)).collect());
    ordinary.chain(steep).chain(scaled).collect()
}

#[tokio::test]
async fn a_cosine_index_keeps_every_vector_that_the_rules_let_through() {
    for version in ["0.6.3", "1.5.9"] {
        let folder = tempfile::tempdir().unwrap();
        let server = ChromaServer::start(version, folder.path());
        let writer = writer(&server).await;
        for dimension in [1, 3, 384, 1536, 3072] {
            let keys = [
                ("hnsw:space", Value::Str("cosine".into())),
                ("hnsw:sync_threshold", Value::Int(20)),
                ("hnsw:batch_size", Value::Int(10)),
            ];
            let created = writer.create(&new(&format!("cosine-{dimension}"), metadata(keys))).await.unwrap();
            let records: Vec<Record> = vectors(dimension)
                .into_iter()
                .enumerate()
                .map(|(n, embedding)| Record { id: format!("{n:03}"), embedding, ..record("") })
                .collect();
            for records in records.chunks(20) {
                writer.add(&created, records).await.unwrap();
            }
            let ids: Vec<String> = records.iter().map(|r| r.id.clone()).collect();
            for fetched in writer.fetch(&created, &ids).await.unwrap() {
                let sent = records.iter().find(|r| r.id == fetched.id()).unwrap();
                let problem = rules::record_problem(sent, Distance::Cosine, &writer.capabilities());
                let ulps = match &fetched {
                    Fetched::Record { record, .. } => {
                        let pairs = record.embedding.iter().zip(&sent.embedding);
                        pairs.map(|(a, b)| ulp::f32(*a, *b)).max().unwrap()
                    }
                    Fetched::Unreadable { .. } => u32::MAX,
                };
                let case = format!("{version}, {dimension} components, {}: {ulps} ULP, {problem:?}", sent.id);
                assert!(problem.is_some() || ulps <= ulp::TOLERATED, "{case}");
                assert!(problem.is_none() || sent.id.as_str() >= "060", "an ordinary vector is refused: {case}");
            }
        }
    }
}
