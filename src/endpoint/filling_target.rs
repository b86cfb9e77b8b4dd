//! A local target in the container of a pod that fills it: the server that writes it does not run yet, and one beside us lays
//! the store out. Another container goes on with what is filled here.

use async_trait::async_trait;

use super::filling::Filling;
use super::local_target::with_log;
use super::sidecar_target::SidecarTarget;
use super::{Folder, LayoutServer, Scope, layout};
use crate::chroma::Capabilities;
use crate::model::Result;
use crate::store::{Filler, Finding, Load, Reader, Target, Writer};

/// A folder that is filled, and by nobody written yet.
pub(super) struct FillingTarget {
    before: SidecarTarget,
    filling: Filling,
    folder: Folder,
    scope: Scope,
    layout: LayoutServer,
}

impl FillingTarget {
    /// `before`: the target as preflight sees it, which has looked for what an earlier attempt left.
    pub(super) fn new(
        before: SidecarTarget,
        filling: Filling,
        folder: Folder,
        scope: Scope,
        layout: LayoutServer,
    ) -> Self {
        Self { before, filling, folder, scope, layout }
    }
}

#[async_trait]
impl Target for FillingTarget {
    fn name(&self) -> String {
        self.before.name()
    }

    fn current(&self) -> Option<&dyn Reader> {
        self.before.current()
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        layout::capabilities(&self.layout, &self.folder, &self.scope).await
    }

    async fn checks(&self, load: Load) -> Result<Vec<Finding>> {
        let filled = self.filling.decide(None, load)?;
        let load = if self.filling.is_possible() { with_log(load) } else { load };
        let mut findings = self.before.checks(load).await?;
        findings.retain(|finding| finding.check != filled.check);
        findings.push(filled);
        Ok(findings)
    }

    fn filler(&self) -> Option<&dyn Filler> {
        Some(&self.filling as &dyn Filler).filter(|_| self.filling.is_possible())
    }

    async fn open(&self) -> Result<&dyn Writer> {
        self.before.open().await
    }

    fn files(&self) -> Option<&dyn Reader> {
        None
    }

    async fn close(&self) -> Result<()> {
        self.filling.abandon().await;
        Ok(())
    }
}
