"""What the operator's ServiceAccount may do beside what it did, by the API server's audit log: rights.py [--write] [SECONDS]

Of the last SECONDS, by default of all that the log has: so after the scenarios or the campaign. Prints a table, and with
--write puts it into docs/security.md. Exit code 1 if a right was not used and nothing here says what it is for, or if
something was done that none of its own rights allow. Only on the cluster of tests, which keeps an audit log.
"""

import collections
import os
import pathlib
import sys

import audit
from kit import OPERATOR, SYSTEM, api

USER = f"system:serviceaccount:{SYSTEM}:{OPERATOR}"
DOCUMENT = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "security.md"
BEGIN, END = "<!-- rights: begin, written by tests/cluster/rights.py -->", "<!-- rights: end -->"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
# Rights that no request uses.
WHAT_FOR = {
    ("memory-migration.dev", "memorymigrations/finalizers", "update"): "owner references that block deletion need it on some clusters, OpenShift among them",
    ("memory-migration.dev", "memorymigrationschedules/finalizers", "update"): "as for migrations",
}


def rules():
    """The rules that are bound to the ServiceAccount: (where, rule)."""
    for kind, role in (("clusterrolebindings", "clusterroles"), ("rolebindings", "roles")):
        for binding in api().get(f"{RBAC}/{kind}")["items"]:
            ours = [s for s in binding.get("subjects", []) if s.get("name") == OPERATOR and s.get("namespace") == SYSTEM]
            if not ours:
                continue
            namespace = binding["metadata"].get("namespace")
            path = f"{RBAC}/namespaces/{namespace}/{role}" if namespace else f"{RBAC}/{role}"
            for rule in api().get(f"{path}/{binding['roleRef']['name']}")["rules"]:
                yield ("its own namespace" if namespace == SYSTEM else namespace or "all that it watches"), rule


def allowed():
    """(group, resource, verb) to where."""
    rights = {}
    for where, rule in rules():
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                rights |= {(group, resource, verb): where for verb in rule["verbs"]}
    return rights


def done(seconds):
    """(group, resource, verb) to the number of requests that were not refused; those that were by themselves."""
    counts, refused = collections.Counter(), collections.Counter()
    for event in audit.read(os.environ["STATE"] + "/log/audit.jsonl", USER, seconds):
        what = event.get("objectRef", {})
        name = "/".join(filter(None, [what.get("resource"), what.get("subresource")])) or event["requestURI"].split("?")[0]
        asked = (what.get("apiGroup", ""), name, event["verb"])
        code = event["responseStatus"]["code"]
        (refused if code in (401, 403) else counts)[asked] += 1
    return counts, refused


def main():
    seconds = float(next((arg for arg in sys.argv[1:] if not arg.startswith("-")), "inf").replace("inf", "3e8"))
    rights, (counts, refused) = allowed(), done(seconds)
    by_resource = collections.defaultdict(list)
    for (group, resource, verb), where in rights.items():
        by_resource[where, group, resource].append(verb)
    lines = ["| where | what | verbs: requests that used them |", "|---|---|---|"]
    wrong = []
    for (where, group, resource), verbs in sorted(by_resource.items()):
        cells = []
        for verb in verbs:
            count, reason = counts[group, resource, verb], WHAT_FOR.get((group, resource, verb))
            cells.append(f"{verb}: {count or reason or 'NOT USED'}")
            if not count and not reason:
                wrong.append(f"the right to {verb} {resource} ({group or 'core'}) was not used")
        lines.append(f"| {where} | {resource}{f' ({group})' if group else ''} | {', '.join(cells)} |")
    others = {asked: count for asked, count in counts.items() if asked not in rights}
    # Every client may ask which APIs there are.
    wrong += [f"{verb} {resource} ({group}) was done without a right of its own" for group, resource, verb in others if not resource.startswith(("/api", "/version", "/openapi"))]
    lines += ["", f"Done beside it: {', '.join(sorted(f'{v} {r} ({c})' for (_, r, v), c in others.items())) or 'nothing'}."]
    said = ', '.join(sorted(f'{v} {r} ({c})' for (_, r, v), c in refused.items())) or 'nothing'
    lines += [
        f"Refused: {said}. A quota refuses Jobs, a namespace that is being deleted takes no Events, and when the chart is removed, "
        "its Role goes before the pod that asks for its Lease."
    ]
    text = "\n".join(lines)
    print(text)
    if "--write" in sys.argv:
        before, rest = DOCUMENT.read_text().split(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")
    print("\n".join(wrong), file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()
