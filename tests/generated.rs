//! What is generated and committed is what the code makes today; a failure says the command that renews it.

const CRD: &str = "crds/memorymigrations.memory-migration.dev.yaml";

#[test]
fn the_crd_file_is_fresh() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(CRD);
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let generated = memory_migration_operator::api::crd_yaml().unwrap();
    assert!(committed == generated, "{CRD} is stale: run `memory-migration crd > {CRD}` and commit it");
}
