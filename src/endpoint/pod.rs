//! A local target in the containers of the runner's pod: what each of them knows of the others.

use super::filling::Filling;
use super::filling_target::FillingTarget;
use super::layout::Layouter;
use super::sidecar_target::SidecarTarget;
use super::{Folder, Pod, Scope};
use crate::engine::Handover;
use crate::model::Result;
use crate::store::Target;

/// A local target in a container of the runner's pod.
pub(super) async fn target(
    folder: Folder,
    scope: Scope,
    mut pod: Pod,
    fill: Option<String>,
) -> Result<(Box<dyn Target>, Option<Handover>)> {
    let layout = pod.layout.take();
    let target = SidecarTarget::open(folder.clone(), scope.clone(), &pod, fill.as_deref()).await?;
    if let (Some(layout), Some(migration), Some(handover)) = (layout, fill, pod.handover) {
        let filling = Filling::new(Layouter::Beside(layout.clone()), &folder, &scope, migration);
        filling.look()?;
        let target = FillingTarget::new(target, filling, folder, scope, layout);
        return Ok((Box::new(target), Some(Handover::Leave(handover))));
    }
    let taken = target.filled().cloned().map(Handover::Take);
    Ok((Box::new(target), taken))
}
