"""Moves the memories of AI agents between Chroma stores and servers, and proves that nothing was lost.

>>> from memory_migration import migrate_memories
>>> report = migrate_memories(
...     source_type="local", source_config="./chroma_db",
...     target_type="remote", target_config={"host": "localhost", "port": 8000},
... )
>>> report["reason"]
'Verified'

The work is done by the command `memory-migration`, which this package contains. It runs as a process of its own.
"""

from ._errors import MigrationFailed
from ._migrate import Credentials, Options, migrate_memories
from ._report import (
    Check,
    CollectionReport,
    Counts,
    Difference,
    Filters,
    Progress,
    Rate,
    RatePoint,
    Report,
    Search,
    Verification,
)

__all__ = [
    "Check",
    "CollectionReport",
    "Counts",
    "Credentials",
    "Difference",
    "Filters",
    "MigrationFailed",
    "Options",
    "Progress",
    "Rate",
    "RatePoint",
    "Report",
    "Search",
    "Verification",
    "migrate_memories",
]
