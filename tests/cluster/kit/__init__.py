"""What the scenarios are written with."""

from .chroma import COLLECTION
from .cluster import (
    BOX,
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
    scale,
    until,
    writes_by_name,
)
from .migration import Migration
from .policy import changed, refused
from .scenario import Scenario, local, renamed, resources, slow
