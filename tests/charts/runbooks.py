"""Checks that each alert of a packaged chart leads to a heading of this checkout's documents. Needs helm and PyYAML.

Usage: runbooks.py CHART.tgz DOCS    DOCS is the address that the release put before its paths
"""

import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def anchors(file):
    """Of each heading, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def main():
    package, docs = sys.argv[1:]
    command = ["helm", "template", "mm", package, "--set", "prometheusRule.enabled=true,image.repository=registry.example.com/x"]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rules = [each for each in yaml.safe_load_all(rendered) if each and each["kind"] == "PrometheusRule"]
    alerts = [rule for each in rules for group in each["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    if not alerts and "crds" not in pathlib.Path(package).name:
        sys.exit(f"runbooks.py: {package} has no alert")
    for alert in alerts:
        link = alert["annotations"]["runbook_url"]
        path, _, anchor = link.removeprefix(docs).partition("#")
        if not link.startswith(docs + "docs/") or anchor not in anchors(ROOT / path):
            sys.exit(f"runbooks.py: alert {alert['alert']} of {package} leads nowhere: {link}")


main()
