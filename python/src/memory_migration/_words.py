"""The command's words for a caller of the function. Pure."""

import re
from typing import Collection

#: Flags that have another name here.
_NAMES = {"collection": "collections", "database": "databases"}
_OWN = ("source-type", "target-type", "source-config", "target-config")


def in_python(text: str, options: Collection[str]) -> str:
    """With options instead of flags, and without the files that carry configurations, which are gone by then.

    What only looks like a flag, as a part of an id, stays.
    """
    text = re.sub(r" in file .*?memory-migration-[^/\s]+/(?:source|target)-config:?", "", text)
    text = re.sub(r"\bthe (source|target) configuration\b", r"\1_config", text)
    text = re.sub(r"\s*For more information, try '--help'\.?", "\nAll options are in help(memory_migration.Options).", text)
    text = text.replace("memory-migration migrate --help", "help(memory_migration.Options)")

    def option(flag: "re.Match[str]") -> str:
        name = _NAMES.get(flag[1], flag[1].replace("-", "_"))
        return name if name in options or flag[1] in _OWN else flag[0]

    # with the place holder of its value, as in '--on-conflict <ON_CONFLICT>'
    return re.sub(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)(?: <[A-Z_\[\]=]+>)?", option, text)
