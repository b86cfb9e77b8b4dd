"""Puts the operator's own rights, as the chart's roles have them, into a page: in place of its line <!-- rights -->.

Usage: rights.py ROLES.yaml <PAGE    ROLES.yaml is what templates/rbac.yaml renders to. Needs PyYAML
"""

import sys

import yaml

MARK = "<!-- rights -->"


def rows(roles):
    """Where, what and verbs; resources with the same verbs side by side share a row."""
    found = {}
    for role in yaml.safe_load_all(roles):
        if role["kind"] not in ("ClusterRole", "Role"):
            continue
        where = "namespaces with migrations" if role["kind"] == "ClusterRole" else "its own namespace"
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    what = f"{resource} ({group})" if group else resource
                    found.setdefault(where, {}).setdefault(what, []).extend(rule["verbs"])
    for where in sorted(found, key=lambda where: where == "its own namespace"):
        shown = where
        resources, last = [], None
        for what, verbs in [*found[where].items(), (None, None)]:
            if resources and verbs != last:
                yield f"| {shown} | {', '.join(resources)} | {', '.join(last)} |"
                shown, resources = "", []
            resources.append(what)
            last = verbs


def main():
    page = sys.stdin.read()
    if page.count(MARK) != 1:
        sys.exit(f"rights.py: the page has to have one line {MARK}")
    with open(sys.argv[1], encoding="utf-8") as roles:
        table = ["| in | on | may |", "|---|---|---|", *rows(roles)]
    sys.stdout.write(page.replace(MARK, "\n".join(table)))


main()
