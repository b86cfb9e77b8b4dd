"""What the scenarios are written with."""

from .chroma import COLLECTION
from .cluster import (
    CHART,
    CHROMA,
    HERE,
    OLD_CHROMA,
    OPERATOR,
    OPERATOR_IMAGE,
    OWN_CLUSTER,
    RESTRICTED,
    SYSTEM,
    Failed,
    api,
    apply,
    equal,
    helm,
    install,
    kill,
    kubectl,
    process,
    process_of,
    until,
)
from .migration import Migration
from .scenario import Scenario, local, renamed, slow
