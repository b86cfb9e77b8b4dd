"""The version, in every file that a person wrote. Standard library only.

Usage: version.py set VERSION    writes it everywhere; then run `make charts-generate`
       version.py check          names the places that have another one than Cargo.toml, or that `set` would not find
       --root FOLDER             of this checkout, by default
"""

import argparse
import pathlib
import re
import sys

VERSION = r"(?P<version>\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?)"
#: What stands before a version of this project, by the files that have it.
PLACES = {
    "Cargo.toml": [r'^version = "', r'path = "\.", version = "'],
    "Cargo.lock": [r'name = "memory-migration-operator"\nversion = "'],
    "charts/*/Chart.yaml": [r"^version: ", r"^appVersion: ", r"^    version: "],
    "charts/*/values.yaml": [r"/blob/v"],
    "README.md": [r"memory-migration-operator:"],
    "docs/**/*.md": [r"memory-migration-operator:", r"/blob/v"],
    "deploy/*/*.yaml": [r"^    targetRevision: v", r"^    tag: v"],
    "deploy/kustomization.yaml": [r"\?ref=v"],
}
#: Files with versions of other things, too.
OTHERS = ("Cargo.toml", "Cargo.lock")


def files(root):
    """Each file with its text and one pattern for all its places. A link is a file that is there twice."""
    for glob, starts in PLACES.items():
        pattern = re.compile("|".join(f"(?:{start})" for start in starts), re.MULTILINE)
        whole = re.compile(f"(?P<start>{pattern.pattern}){VERSION}", re.MULTILINE)
        for file in sorted(root.glob(glob)):
            if not file.is_symlink():
                yield file, file.read_text(encoding="utf-8"), whole


def current(root):
    return re.search(f'^version = "{VERSION}"', (root / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)["version"]


def check(root):
    version, wrong = current(root), []
    for file, text, whole in files(root):
        for place in whole.finditer(text):
            if place["version"] != version:
                wrong.append(f"{file.relative_to(root)}: has {place['version']}, and Cargo.toml has {version}")
        known = {place.start("version") for place in whole.finditer(text)}
        for place in re.finditer(rf"(?<![\d.]){re.escape(version)}(?![\d.]*\d)", text):
            if place.start() not in known and str(file.relative_to(root)) not in OTHERS:
                line = text[: place.start()].count("\n") + 1
                wrong.append(f"{file.relative_to(root)}:{line}: deploy/version.py does not find this {version}: add what stands before it")
    return wrong


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("what", choices=["set", "check"])
    parser.add_argument("version", nargs="?")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    args = parser.parse_args()
    if args.what == "set":
        if not re.fullmatch(VERSION, args.version or ""):
            sys.exit("version.py: write a version, as in 'version.py set 0.2.0'")
        for file, text, whole in list(files(args.root)):
            file.write_text(whole.sub(lambda place: place["start"] + args.version, text), encoding="utf-8")
    wrong = check(args.root)
    if wrong:
        sys.exit("\n".join(wrong))


main()
