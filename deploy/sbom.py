"""Prints the SBOM of the program as SPDX 2.3 in JSON: every crate that is linked, by `cargo metadata`. Standard library only.

Usage: sbom.py    the same Cargo.lock gives the same text, but for SOURCE_DATE_EPOCH (0)
"""

import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def linked(metadata):
    """The program's package and all that it depends on, without what only tests and builds need."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    todo, seen = [metadata["resolve"]["root"]], set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [d["pkg"] for d in nodes[name]["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
    return [package for package in metadata["packages"] if package["id"] in seen]


def identifier(package):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{package['name']}-{package['version']}")


def checksums():
    text = (ROOT / "Cargo.lock").read_text()
    found = re.findall(r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"', text)
    return {(name, version): checksum for name, version, checksum in found}


def described(package, sums):
    licence = (package["license"] or "NOASSERTION").replace("/", " OR ")
    spdx = {
        "SPDXID": identifier(package),
        "name": package["name"],
        "versionInfo": package["version"],
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": licence,
        "copyrightText": "NOASSERTION",
    }
    if package["source"]:
        place = f"pkg:cargo/{package['name']}@{package['version']}"
        spdx["externalRefs"] = [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": place}]
    checksum = sums.get((package["name"], package["version"]))
    return spdx | ({"checksums": [{"algorithm": "SHA256", "checksumValue": checksum}]} if checksum else {})


def main():
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    packages = sorted(linked(metadata), key=lambda package: (package["name"], package["version"]))
    root = next(package for package in packages if package["id"] == metadata["resolve"]["root"])
    created = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc)
    others = [package for package in packages if package is not root]
    digest = hashlib.sha256((ROOT / "Cargo.lock").read_bytes()).hexdigest()
    relation = {"spdxElementId": identifier(root), "relationshipType": "DEPENDS_ON"}
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{root['name']}-{root['version']}",
        "documentNamespace": f"https://spdx.org/spdxdocs/{root['name']}-{root['version']}-{digest[:32]}",
        "creationInfo": {"created": created.strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": ["Tool: deploy/sbom.py"]},
        "packages": [described(package, checksums()) for package in packages],
        "relationships": [
            {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": identifier(root)},
            *(relation | {"relatedSpdxElement": identifier(package)} for package in others),
        ],
    }
    print(json.dumps(document, indent=1))


main()
