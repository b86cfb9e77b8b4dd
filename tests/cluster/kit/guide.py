"""Manifests as the guides have them: what a scenario applies is what a reader copies."""

import re

from .cluster import HERE, Failed

DOCS = HERE.parent.parent / "docs"


def manifest(page, heading, **replaced):
    """The first YAML block below a heading of a page (None: of the page). `replaced`: by any name, (the guide's text, ours);
    what the guide does not say any more is an error."""
    text = (DOCS / page).read_text()
    if heading:
        text = text.partition(f"\n## {heading}\n")[2]
    found = re.search(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise Failed(f"{page} has no manifest below {heading!r}")
    ours = found[1]
    for theirs, mine in replaced.values():
        if theirs not in ours:
            raise Failed(f"the manifest below {heading!r} in {page} does not say {theirs!r}")
        ours = ours.replace(theirs, mine)
    return ours
