//! Leader election: of several replicas one works, and the process ends when it has lost the Lease. Knows no migration.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Error;

/// The Lease that the replicas compete for.
const NAME: &str = "memory-migration-operator-leader";
/// A replica that died is followed within this time and a second or two.
const SECONDS: u64 = 15;
/// It is renewed this long before it ends.
const GRACE_SECONDS: u64 = 5;

/// The place of this replica in the election.
pub struct Election {
    leads: watch::Receiver<bool>,
    task: JoinHandle<kube_lease_manager::Result<LeaseManager>>,
}

impl Election {
    /// Takes part in the election; waits while the API server does not answer.
    pub async fn join(client: &Client, namespace: &str, identity: &str) -> Self {
        loop {
            let manager = LeaseManagerBuilder::new(client.clone(), NAME)
                .with_namespace(namespace)
                .with_identity(identity)
                .with_duration(SECONDS)
                .with_grace(GRACE_SECONDS)
                .build()
                .await;
            match manager {
                Ok(manager) => {
                    let (leads, task) = manager.watch().await;
                    return Self { leads, task };
                }
                Err(error) => {
                    tracing::warn!(error = error.to_string(), "the leader's Lease cannot be read; trying again");
                    tokio::time::sleep(Duration::from_secs(GRACE_SECONDS)).await;
                }
            }
        }
    }

    /// Resolves when this replica leads.
    ///
    /// # Errors
    /// When the election itself has ended.
    pub async fn won(&mut self) -> Result<(), Error> {
        self.leads.wait_for(|leads| *leads).await.map(drop).map_err(|_| Error::LeaseLost)
    }

    /// Resolves when this replica does not lead any more.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
        let mut leads = self.leads.clone();
        async move {
            // A closed channel means that nobody renews the Lease: lost, too.
            let _ = leads.wait_for(|leads| !*leads).await;
        }
    }

    /// Gives the Lease back, so that another replica need not wait for it to end.
    pub async fn leave(self) {
        drop(self.leads);
        let ended = tokio::time::timeout(Duration::from_secs(GRACE_SECONDS), self.task).await;
        if !matches!(ended, Ok(Ok(Ok(_)))) {
            tracing::warn!("the leader's Lease could not be given back: the next leader waits until it ends");
        }
    }
}
