"""A controller and a CRD of different versions."""

import json

from kit import COLLECTION, OPERATOR, SYSTEM, api, equal, install, kubectl, local, slow, until

CRD = "memorymigrations.memory-migration.dev"


def status_field_unknown_to_the_crd(s):
    """The CRD lacks status fields: runs end verified all the same, and what to upgrade is said where one looks."""
    crd = json.loads(kubectl("get", "crd", CRD, "-o", "json"))
    status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    for field in ("progress", "podName"):
        del status[field]
    kubectl("replace", "-f", "-", stdin=json.dumps(crd))
    try:
        m = s.migrate("older", local("dev"), s.prod.endpoint(), pacing=slow(500))
        status = m.verified(2000)
        equal("what the CRD does not know is not there", "progress" in status or "podName" in status, False)
        equal("attempts", status["attempts"], 1)
        path = f"/api/v1/namespaces/{SYSTEM}/services/{OPERATOR}:8080/proxy/readyz"
        until("/readyz says it", lambda: "upgrade the CRD" in api().call("GET", path))
    finally:
        install()
    again = s.migrate("newer", local("dev"), s.prod.endpoint())
    equal("its progress", again.verified(2000)["progress"]["percent"], 100)
    s.prod.holds(COLLECTION, 2000)


status_field_unknown_to_the_crd.alone = True
