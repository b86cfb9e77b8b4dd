//! Collections of every version, created on servers of every version: the distance and the settings stay the same.

use memory_migration_operator::chroma::creation::{self, Differences};
use memory_migration_operator::chroma::settings;
use memory_migration_operator::model::{Collection, Distance};
use memory_migration_operator::store::{Reader, Writer};
use serde_json::{Value as Json, json};

use super::contract::{open, writer};
use super::support::chroma::ChromaServer;

const SOURCES: [&str; 5] = ["0.4.24", "0.5.23", "0.6.3", "1.0.20", "1.5.9"];
const TARGETS: [&str; 4] = ["0.5.23", "0.6.3", "1.0.20", "1.5.9"];
const SPACES: [&str; 3] = ["l2", "cosine", "ip"];

/// The bodies that create a source, by what they are.
fn bodies(version: &str, space: &str) -> Vec<(String, Json)> {
    let user = json!({"text": "é 🙂", "int": 4_611_686_018_427_387_904_i64, "float": 1.0, "bool": true});
    let with = |more: Json| {
        let mut metadata = user.clone();
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        metadata
    };
    let keys = json!({
        "hnsw:space": space, "hnsw:construction_ef": 222, "hnsw:M": 17, "hnsw:search_ef": 33,
        "hnsw:batch_size": 44, "hnsw:sync_threshold": 555, "hnsw:resize_factor": 1.7
    });
    let parameters = json!({
        "space": space, "ef_construction": 222, "max_neighbors": 17, "ef_search": 33, "batch_size": 44,
        "sync_threshold": 555, "resize_factor": 1.7
    });
    let function = json!({"type": "known", "name": "default", "config": {}});
    let mut bodies = vec![
        ("space".to_owned(), json!({"metadata": with(json!({"hnsw:space": space}))})),
        ("keys".to_owned(), json!({"metadata": with(keys)})),
    ];
    if version.starts_with("1.") {
        let configuration = json!({"hnsw": parameters, "embedding_function": function});
        bodies.push(("configuration".to_owned(), json!({"metadata": user, "configuration": configuration})));
        let both = json!({"metadata": with(json!({"hnsw:space": "l2"})), "configuration": configuration});
        bodies.push(("contradiction".to_owned(), both));
    }
    if version == "1.5.9" {
        let mut parameters = parameters;
        parameters.as_object_mut().unwrap().remove("space");
        let index = json!({"space": space, "hnsw": parameters, "embedding_function": function});
        let embedding = json!({"float_list": {"vector_index": {"enabled": true, "config": index}}});
        let unindexed = json!({"string": {"string_inverted_index": {"enabled": false, "config": {}}}});
        let schema = json!({"defaults": {}, "keys": {"#embedding": embedding, "unindexed": unindexed}});
        bodies.push(("schema".to_owned(), json!({"metadata": user, "schema": schema})));
    }
    bodies
}

async fn sources(version: &str) -> Vec<Collection> {
    let folder = tempfile::tempdir().unwrap();
    let server = ChromaServer::start(version, folder.path());
    let store = open(&server).await;
    for space in SPACES {
        for (kind, mut body) in bodies(version, space) {
            body["name"] = json!(format!("{kind}-{space}"));
            post(&server, version, "", body).await;
        }
    }
    store.collections().await.unwrap()
}

/// A POST below the default database's collections, which the library has no reason to send; panics unless it succeeds.
async fn post(server: &ChromaServer, version: &str, below: &str, body: Json) -> Json {
    let base = if version.starts_with("0.4") {
        "/api/v1/collections"
    } else {
        "/api/v2/tenants/default_tenant/databases/default_database/collections"
    };
    let request = reqwest::Client::new().post(format!("{}{base}{below}", server.url));
    let response = request.json(&body).send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert!(status.is_success(), "Chroma {version}, {body}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

/// The distance by which the server answers, seen from outside the library.
async fn measured(server: &ChromaServer, version: &str, id: &str) -> Distance {
    post(server, version, &format!("/{id}/add"), json!({"ids": ["a"], "embeddings": [[3, 4, 0]]})).await;
    let query = json!({"query_embeddings": [[1.5, 2.5, 3.5]], "n_results": 1, "include": ["distances"]});
    let answer = post(server, version, &format!("/{id}/query"), query).await;
    match answer["distances"][0][0].as_f64().unwrap() {
        16.75 => Distance::L2,
        -13.5 => Distance::Ip,
        near if (near - 0.3633).abs() < 1e-3 => Distance::Cosine,
        other => panic!("no known distance: {other}"),
    }
}

/// What each kind of source loses on a target that cannot hold it.
fn expected_losses(source: &Collection, target: &str) -> Vec<&'static str> {
    let (old, kind) = (target.starts_with("0."), source.name.split('-').next().unwrap());
    let mut words = Vec::new();
    if old && kind == "contradiction" && source.distance != Distance::L2 {
        words.push("hnsw:space");
    }
    if old && matches!(kind, "configuration" | "contradiction" | "schema") {
        words.push("embedding function \"default\"");
    }
    if kind == "schema" && target != "1.5.9" {
        words.push("unindexed");
    }
    words
}

#[tokio::test]
async fn a_created_collection_measures_and_is_set_as_its_source() {
    let mut all = Vec::new();
    for version in SOURCES {
        all.extend(sources(version).await.into_iter().map(|source| (version, source)));
    }
    assert_eq!(all.len(), 3 * (2 + 2 + 2 + 4 + 5));
    for version in TARGETS {
        let folder = tempfile::tempdir().unwrap();
        let server = ChromaServer::start(version, folder.path());
        let writer = writer(&server).await;
        for (from, source) in &all {
            let name = format!("{from}-{}", source.name);
            let case = format!("{name} on {version}");
            assert!(source.name.ends_with(source.distance.as_str()), "{case}");
            let new = creation::plan(source, &name, &writer.capabilities());
            let words = expected_losses(source, version);
            assert_eq!(new.losses.len(), words.len(), "{case}: {:?}", new.losses);
            assert!(new.losses.iter().zip(words).all(|(loss, word)| loss.contains(word)), "{case}: {:?}", new.losses);
            let created = writer.create(&new).await.unwrap();
            let measured = measured(&server, version, &created.id).await;
            assert_eq!(measured, source.distance, "{case}");
            let listed = writer.collections().await.unwrap().into_iter().find(|c| c.id == created.id).unwrap();
            assert_eq!(listed.distance, measured, "{case}");
            assert_eq!(creation::differences(source, &listed, Some(&new)), Differences::default(), "{case}");
            if version == "1.5.9" {
                let (ours, theirs) = (settings::written(source), settings::written(&listed));
                assert!(ours.iter().all(|(parameter, value)| theirs.get(parameter) == Some(value)), "{case}");
            }
        }
    }
}

#[tokio::test]
async fn the_distance_in_effect_is_found_where_1_x_serves_a_store_of_0_5() {
    let folder = tempfile::tempdir().unwrap();
    {
        let server = ChromaServer::start("0.5.23", folder.path());
        open(&server).await;
        for space in SPACES {
            let body = json!({"name": format!("old-{space}"), "metadata": {"hnsw:space": space}});
            let id = post(&server, "0.5.23", "", body).await["id"].as_str().unwrap().to_owned();
            let records = json!({"ids": ["a", "b"], "embeddings": [[3, 4, 0], [-0.5, 0.25, 7]]});
            post(&server, "0.5.23", &format!("/{id}/add"), records).await;
        }
        let empty = json!({"name": "empty-cosine", "metadata": {"hnsw:space": "cosine"}});
        post(&server, "0.5.23", "", empty).await;
    }
    let server = ChromaServer::start("1.5.9", folder.path());
    let collections = open(&server).await.collections().await.unwrap();
    assert_eq!(collections.len(), 4);
    for collection in collections {
        assert!(collection.name.ends_with(collection.distance.as_str()), "{collection:?}");
    }
}
