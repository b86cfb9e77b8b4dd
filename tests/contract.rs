//! One suite over every kind of store, against servers of real Chroma versions.
//! Knows of a store only what `Reader` and `Writer` say, except where it opens one.

use memory_migration_operator::store::http::{self, HttpStore, HttpWriter, ServerConfig};
use memory_migration_operator::store::{
    Amendment, Collection, Error, Fetched, Metadata, NewCollection, Reader, Record, Value, Writer,
};

use super::support::chroma::{ChromaServer, VERSIONS};

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
    NewCollection { name: name.into(), metadata, configuration: None, schema: None, losses: Vec::new() }
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
    let ids: Vec<String> = reader.ids(collection).await.unwrap().iter().map(str::to_owned).collect();
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

        writer.delete(&listed, &["only a uri".into()]).await.unwrap();
        assert_eq!(writer.ids(&listed).await.unwrap().len(), 3, "{version}");
        let twice = writer.create(&new("memories", Metadata::new())).await;
        assert!(matches!(twice, Err(Error::Rejected { status: 409, .. })), "{version}: {twice:?}");
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
            distance: memory_migration_operator::store::distance::Distance::L2,
            metadata: Metadata::new(),
            configuration: None,
            schema: None,
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
