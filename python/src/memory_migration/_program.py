"""Where the programs of this installation are. Starts none."""

import os
import sys
import sysconfig
from typing import Iterator, Optional

NAME = "memory-migration"


def program() -> str:
    """The command that came with this package. Never another one of that name on PATH: it could be another version."""
    for folder in _folders():
        path = os.path.join(folder, NAME)
        if os.access(path, os.X_OK):
            return path
    looked = ", ".join(dict.fromkeys(_folders()))
    raise FileNotFoundError(
        f"the program {NAME} is not installed beside this package (looked in {looked}): "
        "install the wheel again, with pip install --force-reinstall"
    )


def chroma() -> Optional[str]:
    """The `chroma` of this Python's own environment, which need not be on PATH."""
    path = os.path.join(sysconfig.get_path("scripts"), "chroma")
    return path if os.access(path, os.X_OK) else None


def _folders() -> Iterator[str]:
    """Where pip puts programs: for an environment, for a user (--user), and beside a package folder (--target)."""
    yield sysconfig.get_path("scripts")
    yield sysconfig.get_path("scripts", f"{os.name}_user")
    packages = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    yield os.path.join(packages, "bin")
    # pip's own environment for a build has a prefix that sysconfig does not know: PREFIX/lib/pythonX.Y/site-packages
    yield os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(packages))), "bin")
    yield os.path.dirname(sys.executable)
