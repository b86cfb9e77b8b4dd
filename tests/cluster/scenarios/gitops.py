"""What GitOps tools ask for: applied again, nothing differs."""

import json

from kit import CHART, equal, kubectl

SUSPENDED = '--for=jsonpath={.status.conditions[?(@.type=="Ready")].reason}=Suspended'


def applied_again(s):
    """Each example applied, read back and applied again by the cluster's own API server: no difference in any way of comparing."""
    for example in sorted((CHART.parent.parent / "deploy" / "examples").glob("*.yaml")):
        # it is about the object, not about its run
        manifest = example.read_text().replace("\nspec:\n", "\nspec:\n  suspend: true\n")
        made = _live(s, manifest, "apply", "-f", "-")
        name = f"{made['kind']}/{made['metadata']['name']}"
        s.k("wait", name, SUSPENDED, "--timeout=60s")
        again = s.k("apply", "-f", "-", stdin=manifest)
        equal(f"{example.name} applied again by kubectl", again.strip().endswith(" unchanged"), True)
        # Argo CD compares as `kubectl diff` does; it exits with 1 where something differs
        s.k("diff", "-f", "-", stdin=manifest)
        s.k("delete", name)
        flux = ["apply", "--server-side", "--field-manager=kustomize-controller", "-f", "-"]
        first = _live(s, manifest, *flux)
        s.k("wait", name, SUSPENDED, "--timeout=60s")
        # Flux compares the live object with what a dry run of its own apply would make of it
        second = _live(s, manifest, *flux, "--dry-run=server")
        equal(f"spec of {example.name} applied again by Flux", second["spec"], first["spec"])
        equal(f"generation of {example.name}", second["metadata"]["generation"], 1)
        s.k("diff", "--server-side", "--field-manager=kustomize-controller", "-f", "-", stdin=manifest)


def _live(s, manifest, *command):
    return json.loads(kubectl("-n", s.namespace, *command, "-o", "json", stdin=manifest))
