"""What the scenarios are written with."""

from .chroma import COLLECTION
from .cluster import (
    CHART,
    CHROMA,
    HERE,
    INSTALL,
    OLD_CHROMA,
    OPERATOR,
    OPERATOR_IMAGE,
    OWN_CLUSTER,
    SYSTEM,
    Failed,
    api,
    apply,
    equal,
    helm,
    install,
    install_into_its_namespace,
    kill,
    kubectl,
    process,
    process_of,
    until,
)
from .migration import Migration
from .scenario import Scenario, local, renamed, slow
