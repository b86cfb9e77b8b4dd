"""Makes the relative links and pictures of a document lead to where a release's files are read. Standard library only.

Usage: links.py DOCS <README.md    DOCS is that address, with a slash at its end; the document lies in the checkout's own folder
"""

import pathlib
import posixpath
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r'(\]\(|\b(?:src|srcset|href)=")(?![a-z]+:|#)([^)"#?]+)')


def absolute(text, docs, folder=""):
    """The text of a document that lies in this folder of the checkout."""

    def link(found):
        path = posixpath.normpath(posixpath.join(folder, found[2]))
        if not (ROOT / path).exists():
            sys.exit(f"links.py: {found[2]} leads nowhere")
        # of a picture not the page that shows it
        return found[1] + docs + path + ("?raw=true" if path.endswith((".svg", ".png")) else "")

    return LINK.sub(link, text)


if __name__ == "__main__":
    sys.stdout.write(absolute(sys.stdin.read(), sys.argv[1]))
