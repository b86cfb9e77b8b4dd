"""Rules of the API server for one namespace: what it refuses, and what it changes on the way."""

import contextlib
import json

from .cluster import api, apply, kubectl, until

GROUP = "admissionregistration.k8s.io"
KINDS = {"jobs": ("batch/v1", "Job", ["batch"]), "pods": ("v1", "Pod", [""])}


def _probe(namespace, resource):
    """What the API server makes of an object of this resource, in words; nothing is made."""
    version, kind, _ = KINDS[resource]
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    allowed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {"restartPolicy": "Never", "securityContext": security}
    pod["containers"] = [{"name": "x", "image": "nowhere.invalid/x:1", "securityContext": allowed}]
    annotations = {"memory-migration.dev/name": "denied"}
    metadata = {"name": "denied-probe", "namespace": namespace, "annotations": annotations, "labels": {"probe": "true"}}
    spec = pod if kind == "Pod" else {"template": {"spec": pod}}
    made = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
    command = ["create", "--dry-run=server", "-o", "json", "-f", "-"]
    return kubectl(*command, stdin=json.dumps(made), check=False, errors=True)


@contextlib.contextmanager
def _rule(s, kind, resource, spec, binding, shows):
    name = s.namespace
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": s.namespace}}}
    _, _, groups = KINDS[resource]
    rule = {"apiGroups": groups, "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}
    spec = spec | {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [rule]}}
    head = {"apiVersion": f"{GROUP}/v1", "metadata": {"name": name}}
    try:
        apply(head | {"kind": kind, "spec": spec})
        apply(head | {"kind": f"{kind}Binding", "spec": {"policyName": name, "matchResources": where} | binding})
        until(f"the {kind} is in effect", lambda: (shows in (seen := _probe(s.namespace, resource)), seen))
        yield True
    finally:
        for what in (f"{kind}Binding", kind):
            kubectl("delete", f"{what}.{GROUP}", name, "--ignore-not-found")


def refused(s, resource, expression, message):
    """While it lasts, the API server refuses new objects of this resource for which the expression is false. It must be
    false for one called `denied-probe`."""
    spec = {"validations": [{"expression": expression, "message": message}]}
    return _rule(s, "ValidatingAdmissionPolicy", resource, spec, {"validationActions": ["Deny"]}, message)


@contextlib.contextmanager
def changed(s, resource, path, value, shows):
    """While it lasts, the API server adds this value to the runner's objects of this resource, which then hold this text.
    False where it cannot."""
    served = api().get(f"/apis/{GROUP}/v1")["resources"]
    if "mutatingadmissionpolicies" not in [found["name"] for found in served]:
        s.say("left out: this API server has no MutatingAdmissionPolicy v1, which Kubernetes has from 1.36 on")
        yield False
        return
    patch = f"[JSONPatch{{op: 'add', path: '{path}', value: {value}}}]"
    change = {"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}
    spec = {"reinvocationPolicy": "Never", "mutations": [change]}
    spec["matchConditions"] = [{"name": "runner", "expression": "has(object.metadata.annotations)"}]
    spec["matchConditions"][0]["expression"] += " && 'memory-migration.dev/name' in object.metadata.annotations"
    with _rule(s, "MutatingAdmissionPolicy", resource, spec, {}, shows):
        yield True
