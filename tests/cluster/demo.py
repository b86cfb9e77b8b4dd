"""Shows the operator at work on the cluster that is up: a claim with 2,000 memories goes into a server, live, with the proof."""

import json
import time

import kit


def show(*args):
    print(f"\n$ kubectl {' '.join(args)}\n" + kit.kubectl(*args).rstrip(), flush=True)


def watch(m):
    """As `kubectl get memmig -w`, until it has ended."""
    print(f"\n$ kubectl -n {m.namespace} get memmig {m.name} -w", flush=True)
    shown = ""
    while True:
        lines = kit.kubectl("-n", m.namespace, "get", "memmig", m.name).splitlines()
        text = "\n".join(lines[1:] if shown else lines)
        # The age changes each second, and is not news.
        if text.rsplit(maxsplit=1)[0] != shown:
            print(text, flush=True)
            shown = "\n".join(lines[1:]).rsplit(maxsplit=1)[0]
        if m.status.get("phase") in ("Succeeded", "Failed"):
            return
        time.sleep(1)


def main():
    kit.install_into_its_namespace()
    s = kit.Scenario("demo")
    s.claim("dev-memories", 2000)
    object = {
        "apiVersion": "memory-migration.dev/v1alpha1",
        "kind": "MemoryMigration",
        "metadata": {"name": "promote"},
        "spec": {
            "source": {"local": {"claimName": "dev-memories", "path": "chroma_db"}},
            "target": {"remote": {"service": {"name": "chroma", "namespace": "prod"}, "database": s.namespace}},
            "collections": [{"name": kit.COLLECTION, "targetName": "mcp_imported_memories"}],
            "pacing": {"batchSize": 100, "delay": "500ms"},
        },
    }
    print(f"$ kubectl -n {s.namespace} apply -f - <<'END'\n{json.dumps(object, indent=2)}\nEND", flush=True)
    s.apply(object)
    m = kit.Migration(s, "promote")
    watch(m)
    show("-n", s.namespace, "describe", "memmig", "promote")
    service = f"/api/v1/namespaces/{kit.SYSTEM}/services/{kit.OPERATOR}:8080/proxy/metrics"
    print("\n$ curl http://memory-migration-operator.memory-migration-system:8080/metrics")
    print("\n".join(line for line in kit.api().call("GET", service).splitlines() if s.namespace in line), flush=True)
    s.prod.holds("mcp_imported_memories", 2000)
    print(f"\nChroma lists 2,000 memories in {s.namespace}, each compared once more by this script, without the operator.")


main()
