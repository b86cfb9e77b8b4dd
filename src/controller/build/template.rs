//! The part of the runner's pod template that people may write: the chart's, then the migration's. Pure. What the operator
//! sets is put on top by `pod` and `job`.

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use kube::api::ObjectMeta;

use crate::api::{ContainerName, ContainerPart, PodMetadata, PodPart, PodTemplate};

/// The migration's template laid over the chart's, field by field: of a list, entries with other names are added (a
/// list without names is replaced), and node selectors are replaced as a whole.
#[must_use]
pub fn merged(chart: &PodTemplate, own: &PodTemplate) -> PodTemplateSpec {
    let mut template = kubernetes(chart);
    template.merge_from(kubernetes(own));
    template
}

/// What the template says of one container.
#[must_use]
pub fn container(template: &PodTemplateSpec, container: ContainerName) -> Container {
    let mut containers = template.spec.iter().flat_map(|spec| &spec.containers);
    let wanted = containers.rfind(|c| c.name == container.as_str());
    wanted.cloned().unwrap_or_default()
}

fn kubernetes(template: &PodTemplate) -> PodTemplateSpec {
    let PodTemplate { metadata: PodMetadata { labels, annotations }, spec } = template;
    let PodPart {
        node_selector,
        tolerations,
        affinity,
        topology_spread_constraints,
        priority_class_name,
        runtime_class_name,
        scheduler_name,
        service_account_name,
        image_pull_secrets,
        security_context,
        host_aliases,
        dns_policy,
        dns_config,
        containers,
    } = spec;
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels.clone()),
            annotations: Some(annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            node_selector: (!node_selector.is_empty()).then(|| node_selector.clone()),
            tolerations: listed(tolerations),
            affinity: affinity.clone(),
            topology_spread_constraints: listed(topology_spread_constraints),
            priority_class_name: priority_class_name.clone(),
            runtime_class_name: runtime_class_name.clone(),
            scheduler_name: scheduler_name.clone(),
            service_account_name: service_account_name.clone(),
            image_pull_secrets: listed(image_pull_secrets),
            security_context: security_context.clone(),
            host_aliases: listed(host_aliases),
            dns_policy: dns_policy.clone(),
            dns_config: dns_config.clone(),
            containers: containers.iter().map(kubernetes_container).collect(),
            ..PodSpec::default()
        }),
    }
}

fn kubernetes_container(part: &ContainerPart) -> Container {
    let ContainerPart { name, resources, security_context, env } = part;
    Container {
        name: name.as_str().into(),
        resources: resources.clone(),
        security_context: security_context.clone(),
        env: listed(env),
        ..Container::default()
    }
}

fn listed<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}
