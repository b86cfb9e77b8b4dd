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
    PROGRAM,
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
from .guide import manifest
from .migration import Ended, Migration
from .nodes import (
    FIRST,
    OUT_OF_SERVICE,
    SECOND,
    frozen,
    has_two_nodes,
    headless,
    node_of,
    on,
    only_second,
    open_second,
    ready,
    runners,
    switch_off,
    switch_on,
)
from .policy import changed, refused
from .scenario import Scenario, listed, local, renamed, resources, slow
