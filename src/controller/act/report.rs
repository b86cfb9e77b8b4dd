//! Writes the `ConfigMap` of a report: where there is none of its name, or the object's own. Never another one's; never listed
//! or watched. Decides nothing else.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use crate::api::MemoryMigration;
use crate::controller::Context;
use crate::controller::observe::{ASIDE, facts};

/// Tries, where somebody else is faster or the API server does not answer.
const TRIES: usize = 3;

/// Why a report is not kept.
pub(super) struct NotKept {
    /// As the end of a sentence.
    pub(super) why: String,
    /// It may be different a moment later.
    pub(super) may_change: bool,
}

/// Keeps the report.
pub(super) async fn keep(context: &Context, migration: &MemoryMigration, map: &ConfigMap) -> Result<(), NotKept> {
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &migration.namespace().unwrap_or_default());
    let mut last = String::new();
    for _ in 0..TRIES {
        match timeout(ASIDE, attempt(&maps, migration, map)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Refused::ForGood(why))) => return Err(NotKept { why, may_change: false }),
            Ok(Err(Refused::Once(why))) => last = why,
            Err(_) => last = format!("the API server does not answer within {ASIDE:?}"),
        }
    }
    Err(NotKept { why: last, may_change: true })
}

/// Why a report was not written.
enum Refused {
    /// It may be different a moment later.
    Once(String),
    /// It stays so until somebody changes something.
    ForGood(String),
}

async fn attempt(maps: &Api<ConfigMap>, migration: &MemoryMigration, map: &ConfigMap) -> Result<(), Refused> {
    let name = map.name_any();
    let refused = |error| refused(&name, error);
    let Some(there) = maps.get_opt(&name).await.map_err(refused)? else {
        return maps.create(&PostParams::default(), map).await.map(drop).map_err(refused);
    };
    if !facts::is_owned(&there, &migration.uid().unwrap_or_default()) {
        let why =
            format!("ConfigMap {name} is there, and not this object's: delete that ConfigMap, or rename this object");
        return Err(Refused::ForGood(why));
    }
    if there.data == map.data {
        return Ok(());
    }
    // over the one that was looked at: whoever takes its name meanwhile is not overwritten
    let mut map = map.clone();
    (map.metadata.resource_version, map.metadata.uid) = (there.resource_version(), there.uid());
    maps.replace(&name, &PostParams::default(), &map).await.map(drop).map_err(refused)
}

fn refused(name: &str, error: kube::Error) -> Refused {
    match error {
        kube::Error::Api(status) if status.code == 403 => Refused::ForGood(format!(
            "the operator may not write ConfigMap {name} ({}): let it get, create and update ConfigMaps in this namespace, or set \
             the chart's reports.configMap to false",
            status.message
        )),
        kube::Error::Api(status) if matches!(status.code, 409 | 429 | 500..) => Refused::Once(format!(
            "the API server does not take ConfigMap {name} ({}: {})",
            status.code, status.message
        )),
        kube::Error::Api(status) => {
            Refused::ForGood(format!("the API server refuses ConfigMap {name} ({}: {})", status.code, status.message))
        }
        other => Refused::Once(format!("ConfigMap {name} could not be written ({other})")),
    }
}
