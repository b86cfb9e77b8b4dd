"""The report of a run, as `memory-migration migrate --report FILE` writes it. Types only: a report is a plain dict.

What may be absent stands in a class of its own: `NotRequired` is newer than the oldest Python that this package supports.
"""

from typing import List, Literal, TypedDict


class Counts(TypedDict):
    """Numbers of records, by what became of them.

    After a full verification: source = verified + conflictsSkipped + duplicates + changed + different + missing +
    unreadable.
    """

    source: int
    targetBefore: int
    copied: int
    present: int
    conflictsSkipped: int
    overwritten: int
    duplicates: int
    goneFromSource: int
    cameLater: int
    extra: int
    targetAfter: int
    verified: int
    different: int
    missing: int
    changed: int
    unreadable: int


class Check(TypedDict):
    """One check before the first write."""

    check: str
    ok: bool
    message: str
    remedy: str


class Difference(TypedDict):
    """One record that is listed: different, missing, unreadable, skipped, duplicate, gone or extra."""

    id: str
    field: str
    detail: str


class Filters(TypedDict):
    """What filters answer in the target."""

    asked: int
    wrong: int
    known: int
    notJudged: int


class _SearchMayHave(TypedDict, total=False):
    recallMean: float
    recallP5: float
    recallMin: float
    selfFound: float
    sourceRecallMean: float
    sourceSelfFound: float


class Search(_SearchMayHave):
    """What searches find in the target. Shares are from 0 to 1."""

    queries: int
    notJudged: int
    wrongAnswers: int
    wrongDistances: int
    unknownIds: int
    filters: Filters
    notes: List[str]


class _VerificationMayHave(TypedDict, total=False):
    recall: float


class Verification(_VerificationMayHave):
    """What the comparison says of source and target as a whole."""

    identical: bool
    sourceQuiet: Literal["Yes", "No", "Unknown"]


class _CollectionMayHave(TypedDict, total=False):
    dimension: int
    ulps: List[int]
    search: Search


class CollectionReport(_CollectionMayHave):
    """What became of one collection."""

    database: str
    name: str
    targetName: str
    distance: str
    counts: Counts
    fingerprint: str
    maxUlps: int
    vectorsFromWal: int
    vectorsFromHnsw: int
    differences: List[Difference]
    differencesLeftOut: int


class RatePoint(TypedDict, total=False):
    """Records that each stage did within one point's time; one that did none is left out."""

    preflight: int
    copying: int
    verifying: int
    repairing: int


class Rate(TypedDict):
    """Records over the run's time. seconds is what each point covers."""

    seconds: float
    points: List[RatePoint]


class _ReportMayHave(TypedDict, total=False):
    comparison: bool
    rate: Rate


class Report(_ReportMayHave):
    """The whole outcome of a run. reason is one word, as Verified."""

    schema: int
    verdict: Literal["Succeeded", "Failed", "DryRun"]
    reason: str
    message: str
    direction: Literal["local-to-remote", "remote-to-local", "local-to-local", "remote-to-remote"]
    startedAt: str
    finishedAt: str
    preflight: List[Check]
    counts: Counts
    verification: Verification
    collections: List[CollectionReport]


class _ProgressMayHave(TypedDict, total=False):
    etaSeconds: int


class Progress(_ProgressMayHave):
    """How far a run is. percent never falls."""

    stage: Literal["Preflight", "Copying", "Indexing", "Verifying", "Repairing"]
    records: int
    total: int
    done: int
    of: int
    percent: int
    recordsPerSecond: float
