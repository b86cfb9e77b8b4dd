"""The changelog's fragments: one file in changelog.d for each change that a user sees. Standard library only.

Usage: changelog.py check                says what is wrong with a fragment, and exits with 1
       changelog.py notes [VERSION]      prints the section VERSION of CHANGELOG.md; if there is none, what is to become it: what
                                         stands there as unreleased, and the fragments. The first version is introduced
       changelog.py changes [VERSION]    prints the first sentences of that, in Artifact Hub's form
       changelog.py release VERSION      makes that the section VERSION, and removes the fragments
       --root FOLDER                     of this checkout, by default
"""

import argparse
import json
import pathlib
import re
import sys
import textwrap

KINDS = {"added": "Added", "changed": "Changed", "fixed": "Fixed", "removed": "Removed", "security": "Security"}
UNRELEASED = "## Unreleased\n"
FIRST = """The first release: an operator and a command that move the memories of AI agents between Chroma stores and Chroma servers, and
compare every record. [README](README.md) says what it does. What changed on the way to it:"""


class Wrong(Exception):
    """What is wrong with which file, and what to write."""


class Fragment:
    def __init__(self, file):
        name = re.fullmatch(r"[a-z0-9-]+\.([a-z]+)\.md", file.name)
        if not name or name[1] not in KINDS:
            raise Wrong(f"{file}: name it WHAT.KIND.md, with KIND {', '.join(KINDS)}")
        self.kind = name[1]
        text, _, tail = file.read_text(encoding="utf-8").partition("\n\nImpact: ")
        impact, _, migration = tail.partition("\nMigration: ")
        self.text, self.impact, self.migration = (" ".join(part.split()) for part in (text, impact, migration))
        for part, words in (("first paragraph", self.text), ("line Impact:", self.impact), ("line Migration:", self.migration)):
            if not words.endswith("."):
                raise Wrong(f"{file}: its {part} is missing or does not end with a full stop; see changelog.d/README.md")
        if "\n\n" in tail.rstrip() or re.search(r"^#|^(Impact|Migration):", text, re.MULTILINE):
            raise Wrong(f"{file}: it has one paragraph, a line Impact: and a line Migration:, and no heading")
        if self.kind == "removed" and self.migration == "none.":
            raise Wrong(f"{file}: what is removed was used: its line Migration: says what to do")

    def entry(self):
        parts = [self.text]
        parts += [f"Impact: {self.impact}"] if not self.impact.startswith("none.") else []
        parts += [f"Migration: {self.migration}"] if self.migration != "none." else []
        return textwrap.fill(" ".join(parts), 128, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)


def fragments(root):
    files = sorted(file for file in (root / "changelog.d").iterdir() if file.name != "README.md")
    return files, [Fragment(file) for file in files]


def notes(root, version=""):
    """What a reader of a release is told, without a heading of its own."""
    text, is_first = section(root, version)
    return f"{FIRST}\n\n{text}" if is_first and text else text


def section(root, version=""):
    """What is new in a version: its section, or what becomes that. And whether no version is older."""
    _, rest = split(root)
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", rest, re.MULTILINE | re.DOTALL))
    if version in sections:
        return sections[version].strip(), version == list(sections)[-1]
    unreleased = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()
    found = fragments(root)[1]
    parts = [unreleased] if unreleased else []
    for kind, title in KINDS.items():
        entries = [each.entry() for each in found if each.kind == kind]
        parts += [f"### {title}\n\n" + "\n".join(entries)] if entries else []
    return "\n\n".join(parts), not sections


def split(root):
    before, heading, rest = (root / "CHANGELOG.md").read_text(encoding="utf-8").partition(UNRELEASED)
    if not heading:
        raise Wrong(f"{root / 'CHANGELOG.md'}: has no line '{UNRELEASED.strip()}'")
    return before, rest


def changes(root, version=""):
    """The first sentence of each entry under a kind, as YAML that is JSON."""
    found, kind = [], None
    for line in re.sub(r"\n  +", " ", notes(root, version)).splitlines():
        if line.startswith("### "):
            kind = next((key for key, title in KINDS.items() if line == f"### {title}"), None)
        elif kind and line.startswith("- "):
            found.append({"kind": kind, "description": re.split(r"(?<=\.)\s", line[2:])[0]})
    return json.dumps(found, ensure_ascii=False)


def release(root, version):
    if not re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?", version):
        raise Wrong(f"{version!r} is no version: write for instance 0.2.0")
    before, rest = split(root)
    if f"\n## {version}\n" in f"\n{rest}":
        raise Wrong(f"{root / 'CHANGELOG.md'}: has {version} already")
    older = re.split(r"\n(?=## )", rest, maxsplit=1)[1:]
    text = [before + UNRELEASED, f"## {version}\n", section(root)[0] + "\n", *older]
    (root / "CHANGELOG.md").write_text("\n".join(text), encoding="utf-8")
    for file in fragments(root)[0]:
        file.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["check", "notes", "changes", "release"])
    parser.add_argument("version", nargs="?", default="")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    args = parser.parse_args()
    try:
        if args.what == "check":
            split(args.root)
            print(f"changelog: {len(fragments(args.root)[1])} fragments, each with its impact and migration")
        elif args.what == "release":
            release(args.root, args.version)
        else:
            print({"notes": notes, "changes": changes}[args.what](args.root, args.version))
    except Wrong as wrong:
        sys.exit(f"changelog.py: {wrong}")


main()
