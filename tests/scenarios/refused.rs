//! Bad input that is in the cluster all the same, because a rule came later or a webhook was bypassed: what the user reads
//! in the condition, and that nothing is made. What `kubectl apply` and `run -f` say is in `api/manifest.rs`.

use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::api::{LocalTarget, MemoryMigration, Remote, Selected};
use memory_migration_operator::controller::build::ANNOTATION_NAME;

use super::fixtures::*;

/// What the condition says after this edit.
fn says(edit: impl FnOnce(&mut MemoryMigration)) -> String {
    let case = Case::to_server().edit(edit);
    let plan = case.plan();
    assert_eq!(reason(&plan), Reason::InvalidSpec, "{}", message(&plan));
    assert!(plan.create().is_none() && plan.take_lock().is_none() && plan.requeue.is_none());
    let warning = plan.notices().into_iter().find(|n| n.reason == "InvalidSpec").unwrap();
    assert!(warning.warning && warning.note == message(&plan));
    message(&plan)
}

fn url(text: &str) -> Remote {
    Remote { url: Some(text.into()), tenant: "t".into(), database: Some("d".into()), ..Remote::default() }
}

#[test]
fn both_or_neither_of_local_and_remote() {
    let wanted = "write exactly one of local (a store on a PersistentVolumeClaim) and remote (a Chroma server)";
    assert_eq!(says(|m| m.spec.source.local = None), format!("spec.source: {wanted}"));
    let both = says(|m| m.spec.source.remote = Some(url("http://c")));
    assert_eq!(both, format!("spec.source: {wanted}"));
}

#[test]
fn an_address_that_is_not_http() {
    let said = says(|m| m.spec.target.remote = Some(url("ftp://chroma")));
    assert!(said.starts_with("spec.target.remote.url: write http:// or https://, a host"), "{said}");
}

#[test]
fn a_path_that_leaves_the_claim() {
    for path in ["../other", "/chroma_db", "a/../../b"] {
        let said = says(|m| m.spec.source.local.as_mut().unwrap().path = path.into());
        assert!(said.starts_with("spec.source.local.path: write the folder as it is inside the claim"), "{said}");
    }
}

#[test]
fn batches_of_no_size_and_no_delay() {
    for size in [0, 5_000_000] {
        let said = says(|m| m.spec.pacing.batch_size = Some(size));
        assert!(said.starts_with("spec.pacing.batchSize: write a number of records from 1 to 41666"), "{said}");
    }
    let said = says(|m| m.spec.pacing.delay = Some("fast".into()));
    assert!(said.starts_with("spec.pacing.delay: write a duration, a number with ms, s, m or h"), "{said}");
}

#[test]
fn a_store_into_itself() {
    let said = says(|m| {
        m.spec.target.remote = None;
        let same = LocalTarget { claim_name: "dev".into(), path: "chroma_db".into(), ..LocalTarget::default() };
        m.spec.target.local = Some(LocalTarget { tenant: "t".into(), database: Some("d".into()), ..same });
    });
    assert_eq!(said, "spec: source and target are the same store: write another claimName or path in one of them");
}

#[test]
fn a_collection_twice() {
    let said = says(|m| m.spec.collections = vec![Selected::named("one"), Selected::renamed("one", "two")]);
    assert_eq!(said, "spec.collections[1]: one is listed twice: remove one entry");
}

/// No name is too long: the Job's is cut, says so by its end, and the whole name stands on Job and pod.
#[test]
fn a_name_that_is_too_long_for_a_job() {
    let long = format!("{}.{}", "a".repeat(200), "b".repeat(52));
    let case = Case::to_server().edit(|m| m.metadata.name = Some(long.clone()));
    let plan = case.plan();
    let made = plan.create().unwrap();
    let name = made.metadata.name.clone().unwrap();
    assert!(name.len() <= 63 && name.starts_with(&"a".repeat(50)), "{name}");
    assert_eq!(message(&plan), format!("Job {name} is starting the runner"), "what the user reads");
    assert_eq!(plan.status().unwrap().job_name, name);
    assert_eq!(made.metadata.annotations.unwrap()[ANNOTATION_NAME], long);
    let pod = made.spec.unwrap().template.metadata.unwrap();
    assert_eq!(pod.annotations.unwrap()[ANNOTATION_NAME], long);
    assert!(pod.labels.unwrap().values().all(|value| value.len() <= 63));
    let twin = Case::to_server().edit(|m| {
        m.metadata.name = Some(format!("{}x", &long[..252]));
        m.metadata.uid = Some("another".into());
    });
    assert_ne!(twin.plan().create().unwrap().metadata.name.unwrap(), name);
}
