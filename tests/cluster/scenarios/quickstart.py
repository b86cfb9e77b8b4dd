"""README.md's commands for a cluster, run as they stand there: the quickstart, the way back, the install by kubectl."""

import functools
import os
import pathlib
import re
import shlex
import subprocess
import tempfile

from kit import CHART, CHROMA, OPERATOR, OPERATOR_IMAGE, OWN_CLUSTER, SYSTEM, Failed, equal, helm, install, kubectl
from kit.chroma import Server
from kit.cluster import PYTHON

ROOT = CHART.parent.parent
NAMESPACE = "memory-quickstart"
REGISTRY = "registry.example.com"
OFFICIAL = {CHROMA: "docker.io/chromadb/chroma:1.5.9", PYTHON: "docker.io/library/python:3.11-slim"}


def _table():
    """Start of a command to how it is run."""
    lines = (ROOT / "tests" / "readme.txt").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if line and not line.startswith("#")]
    return {row[0]: row[1] for row in rows}


def _commands(section):
    """The commands of a section's `sh` blocks, each with how it is run."""
    text = (ROOT / "README.md").read_text()
    body = re.search(rf"(?ms)^## {section}\n(.*?)(?=^## |\Z)", text)
    if not body:
        raise Failed(f"README.md has no section {section}")
    table, found = _table(), []
    for block in re.findall(r"(?ms)^```sh\n(.*?)^```", body.group(1)):
        for command in block.replace("\\\n", " ").splitlines():
            command = " ".join(command.split())
            fits = [start for start in table if command.startswith(start)]
            if not fits:
                raise Failed(f"README.md: no line of tests/readme.txt says how to test `{command}`")
            found.append((command, table[max(fits, key=len)]))
    return found


def _own_images():
    """The names that README.md and deploy/quickstart use, for the images of the cluster of tests."""
    version = re.search(r'(?m)^version = "(.*)"', (ROOT / "Cargo.toml").read_text()).group(1)
    names = OFFICIAL | {OPERATOR_IMAGE: f"{REGISTRY}/memory-migration-operator:{version}"}
    for image, name in names.items():
        subprocess.run(["ctr", "-n", "k8s.io", "images", "tag", "--force", image, name], check=True, capture_output=True)


def _run(command, at):
    """As a person does, in the checkout."""
    command = command.replace("REGISTRY", REGISTRY)
    if not OWN_CLUSTER:  # it pulls Chroma and Python from their registries, and the operator from its own
        command = command.replace(f"image.repository={REGISTRY}/memory-migration-operator", at)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"`{command}` of README.md ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def _shown():
    """The header of the table that README.md shows."""
    return re.search(r"(?m)^NAME +SOURCE .*$", (ROOT / "README.md").read_text()).group().split()


def quickstart(s):
    """The README's quickstart from `helm install` to a verified migration and back, command by command."""
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    helm("uninstall", OPERATOR, "-n", SYSTEM, "--wait")
    if OWN_CLUSTER:
        _own_images()
    try:
        repository, tag = OPERATOR_IMAGE.rsplit(":", 1)
        run = functools.partial(_run, at=f"image.repository={repository} --set image.tag={tag}")
        *commands, last = [command for command, how in _commands("Quickstart") if how == "cluster"]
        lines = [line for command in commands for line in run(command).splitlines()]
        rows = [line.split() for line in lines if " Verified " in line]
        verdicts = [words for words in rows if words[0] in ("promote", "restore")]  # what `get` shows, not `describe`
        equal("migrations that the README shows as verified", [words[0] for words in verdicts], ["promote", "restore"])
        Server(NAMESPACE, "chroma").holds("mcp_imported_memories", 500)
        equal("records that the README shows", ["500/500" in words for words in verdicts], [True, True])
        equal("the README's table has the columns that were printed", _shown() in [line.split() for line in lines], True)
        run(last)
        equal("namespaces that are left", kubectl("get", "namespace", NAMESPACE, "--ignore-not-found"), "")
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
        install()


quickstart.alone = True


def installed_by_kubectl_as_the_readme_says(s):
    """The README's three commands for kubectl, over the one substitution of the image."""
    if not OWN_CLUSTER:
        s.say("left out: the image of another cluster has no name of the form that these commands give it")
        return
    helm("uninstall", OPERATOR, "-n", SYSTEM, "--wait")
    _own_images()
    try:
        for command, how in _commands("Install"):
            if how == "cluster":
                _run(command, "")
        kubectl("-n", SYSTEM, "rollout", "status", f"deployment/{OPERATOR}", "--timeout=120s")
    finally:
        install()


installed_by_kubectl_as_the_readme_says.alone = True


def kind_demo(s):
    """deploy/kind-demo.sh as it stands; a kind that hands out this cluster and a docker that has the image built stand in."""
    if not OWN_CLUSTER:
        s.say("left out: the script builds an image, which only the cluster of tests can be given here")
        return
    helm("uninstall", OPERATOR, "-n", SYSTEM, "--wait")
    _own_images()
    name = "localhost/memory-migration-operator:demo-0123456789ab"  # the script makes the tag from the image's id
    tag = ["ctr", "-n", "k8s.io", "images", "tag", "--force", OPERATOR_IMAGE, name]
    subprocess.run(tag, check=True, capture_output=True)
    with tempfile.TemporaryDirectory() as folder:
        docker = '[ "$1 $2" != "image inspect" ] || echo sha256:0123456789abcdef'
        stand_ins = {"docker": docker, "kind": f'[ "$2" != kubeconfig ] || cat {shlex.quote(os.environ["KUBECONFIG"])}'}
        for name, body in stand_ins.items():
            program = pathlib.Path(folder, name)
            program.write_text(f"#!/bin/sh\n{body}\n")
            program.chmod(0o755)
        path = f"{folder}:{os.environ['PATH']}"
        try:
            script = ["bash", str(ROOT / "deploy" / "kind-demo.sh")]
            done = subprocess.run(script, env=os.environ | {"PATH": path}, capture_output=True, text=True)
            if done.returncode:
                raise Failed(f"kind-demo.sh ended with {done.returncode}: {done.stdout}{done.stderr}")
            equal("verdicts that it shows", done.stdout.count("500 records verified"), 2)
            Server(NAMESPACE, "chroma").holds("mcp_imported_memories", 500)
        finally:
            kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
            install()


kind_demo.alone = True
