"""Checks manifests, and those in Markdown files: each object by the schema of each Kubernetes version, or by its CRD (rules in
CEL are left to an API server), and pods by the restricted level of pod security. Needs kubernetes-validate, which carries
the schemas. Writes nothing.

Usage: validate.py --from 1.29 --crds CRD.yaml... --files FILE...
Prints one line; each fault is a line on standard error, and the exit code 1.
"""

import argparse
import json
import re
import sys
from functools import cache
from importlib.resources import files

import yaml
from jsonschema import Draft202012Validator
from kubernetes_validate import utils
from referencing import Registry, Resource

@cache
def schema_file(version, name):
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}-local-strict" / name
    return json.loads(folder.read_text(encoding="utf-8"))


@cache
def registry(version):
    return Resource.from_contents(schema_file(version, "_definitions.json")) @ Registry()


@cache
def validator(version, api_version, kind):
    """The strict schema: an unknown field is a fault. KeyError where the version does not serve the kind."""
    group, _, v = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.split(".")[0], v) if part)
    try:
        schema = schema_file(version, f"{name}.json")
    except FileNotFoundError:
        raise KeyError(f"Kubernetes {version} has no {api_version} {kind}") from None
    return Draft202012Validator(schema, registry=registry(version))


def strict(schema):
    """An API server prunes unknown fields without a word; here they are faults."""
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {name: strict(field) for name, field in schema["properties"].items()}
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            schema[inner] = strict(schema[inner])
    # What stands in allOf and its like only narrows what stands here.
    if schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    return schema


def of_crds(paths):
    """A validator for each version that a CRD serves, by apiVersion and kind."""
    validators = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            spec = yaml.safe_load(file)["spec"]
        for version in spec["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            for field in ("apiVersion", "kind", "metadata"):
                schema["properties"][field] = True
            if version["served"]:
                served = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                validators[served] = Draft202012Validator(schema)
    return validators


def pod_spec(document):
    spec = document.get("spec") or {}
    return {"Pod": lambda: spec, "CronJob": lambda: spec["jobTemplate"]["spec"]["template"]["spec"]}.get(
        document["kind"], lambda: (spec.get("template") or {}).get("spec") if isinstance(spec.get("template"), dict) else None
    )()


def unrestricted(pod):
    """What the restricted level of pod security would refuse, and what we promise beyond it."""
    whole = pod.get("securityContext") or {}
    if whole.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if (whole.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
        yield "seccompProfile is not RuntimeDefault"
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is set"
    for volume in pod.get("volumes") or []:
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a hostPath"
    for container in (pod.get("initContainers") or []) + pod["containers"]:
        own = container.get("securityContext") or {}
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{container['name']}: allowPrivilegeEscalation is not false"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']}: readOnlyRootFilesystem is not true"
        if (own.get("capabilities") or {}).get("drop") != ["ALL"] or (own.get("capabilities") or {}).get("add"):
            yield f"{container['name']}: capabilities are not all dropped"


def faults(document, versions, crds):
    kind, api_version = document["kind"], document["apiVersion"]
    if (api_version, kind) in crds:
        for error in crds[api_version, kind].iter_errors(document):
            yield f"{'.'.join(map(str, error.path))}: {error.message}"
        return
    for version in versions:
        try:
            for error in validator(version, api_version, kind).iter_errors(document):
                yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except KeyError as error:
            yield error.args[0]
    pod = pod_spec(document)
    if pod:
        yield from unrestricted(pod)


def takes_anything(document, versions, crds):
    """A schema that takes a field that does not exist proves nothing."""
    wrong = {**document, "spec": {**document["spec"], "noSuchField": 1}} if "spec" in document else {**document, "noSuchField": 1}
    return not any("noSuchField" in fault for fault in faults(wrong, versions, crds))


class Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):
    """Refuses a key that is given twice: PyYAML keeps the last one, an API server may not."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"{node.start_mark}: given twice: {', '.join(map(str, twice))}")
        return super().construct_mapping(node, deep)


def documents(path):
    """The objects of a YAML file, or of a Markdown file's YAML blocks; a block that is a part of an object is none."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    parts = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if path.endswith(".md") else [text]
    for part in parts:
        for document in filter(None, yaml.load_all(part, Loader=Loader)):
            if not path.endswith(".md") or "kind" in document:
                yield document


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--from", dest="oldest", required=True)
    parser.add_argument("--crds", nargs="+", required=True)
    parser.add_argument("--files", nargs="+", required=True)
    args = parser.parse_args()
    number = lambda version: [int(part) for part in version.split(".")]
    versions = sorted({v for v in utils.all_versions() if number(v)[:2] >= number(args.oldest)}, key=number)
    crds = of_crds(args.crds)
    seen, kinds, bad, total = {}, set(), 0, 0
    for path in args.files:
        for document in documents(path):
            total += 1
            text = json.dumps(document, sort_keys=True, default=str)
            if text not in seen:
                seen[text] = list(faults(document, versions, crds))
            if (kind := (document["apiVersion"], document["kind"])) not in kinds and not seen[text]:
                kinds.add(kind)
                if takes_anything(document, versions, crds):
                    seen[text].append("its schema takes a field that does not exist")
            for fault in seen[text]:
                bad += 1
                name = (document.get("metadata") or {}).get("name", "")
                print(f"{path}: {document['kind']} {name}: {fault}", file=sys.stderr)
    print(f"{total} objects ({len(seen)} different, {len(kinds)} kinds) of {len(args.files)} files: Kubernetes {versions[0]} to {versions[-1]}")
    sys.exit(bool(bad))


main()
