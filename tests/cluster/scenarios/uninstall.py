"""Installing, upgrading and removing the operator, by Helm and by kubectl. Last of all: the others need it installed."""

import pathlib
import re
import shutil
import tempfile

from kit import CHART, CHROMA, COLLECTION, INSTALL, OPERATOR, OPERATOR_IMAGE, SYSTEM, equal, helm, install, kubectl, local, slow, until

CRD = "memorymigrations.memory-migration.dev"
# One that starts no run, and that no other scenario needs.
FIELD = "jobTTLSecondsAfterFinished"


def upgraded_removed_and_installed_by_kubectl(s):
    """`helm upgrade` keeps a run running, `helm test` passes, `helm uninstall` leaves objects and CRD, and kubectl takes over; deleting operator.yaml leaves them, too."""
    m = s.migrate("outlives", local("dev"), s.prod.endpoint(), pacing=slow(100))
    m.copying()
    job = m.status["jobName"]
    install(**{"log.level": "debug"})
    status = m.verified(2000)
    equal("Job and attempts", (status["jobName"], status["attempts"]), (job, 1))
    s.prod.holds(COLLECTION, 2000)
    helm("test", OPERATOR, "-n", SYSTEM)
    helm("uninstall", OPERATOR, "-n", SYSTEM, "--wait")
    equal("the object is left", m.status["verification"]["result"], "Verified")
    deploy = CHART.parent.parent / "deploy"
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(deploy / "crds.yaml"))
    manifest = (deploy / "operator.yaml").read_text()
    image = next(line.split()[-1] for line in manifest.splitlines() if line.strip().startswith("image: "))
    manifest = manifest.replace(image, OPERATOR_IMAGE).replace("docker.io/chromadb/chroma:1.5.9", CHROMA)
    _apply(manifest)
    s.claim("into")
    s.migrate("anew", local("dev"), local("into"), pacing={"batchSize": 500, "delay": "0s"}).verified(2000)
    s.chroma("look", claim="into", path="/data/chroma_db").holds(COLLECTION, 2000)
    kubectl("delete", "-f", "-", "--wait", stdin=manifest)
    equal("the object is left", m.status["verification"]["result"], "Verified")
    _apply(manifest)


upgraded_removed_and_installed_by_kubectl.alone = True


def a_newer_crd(s):
    """A CRD without `jobTTLSecondsAfterFinished` drops that field; the chart's upgrade brings it, and what exists stays and goes on."""
    kubectl("delete", "crd", CRD)
    with tempfile.TemporaryDirectory() as folder:
        older = shutil.copytree(f"{CHART}-crds", folder, dirs_exist_ok=True)
        template = pathlib.Path(older, "templates", "memorymigrations.yaml")
        template.write_text(_without(template.read_text(), FIELD))
        helm(*INSTALL, f"{OPERATOR}-crds", older, "-n", SYSTEM)
    kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=60s")
    m = s.migrate("stays", local("dev"), s.prod.endpoint())
    m.verified(2000)
    m.patch(**{FIELD: 86400})
    before = m.object()
    equal("the field, which the CRD does not know", before["spec"].get(FIELD), None)
    helm("upgrade", f"{OPERATOR}-crds", f"{CHART}-crds", "-n", SYSTEM)
    until("the field is kept", lambda: m.patch(**{FIELD: 86400})["spec"].get(FIELD) == 86400)
    after = m.object()
    equal("the object", after["metadata"]["uid"], before["metadata"]["uid"])
    equal("its proof", after["status"]["verification"], before["status"]["verification"])
    m.patch(runId="second")
    until("a new Job", lambda: m.status.get("jobName") not in (None, "", before["status"]["jobName"]))
    equal("records present at the second run", m.verified(2000)["counts"]["present"], 2000)
    s.prod.holds(COLLECTION, 2000)


a_newer_crd.alone = True


def _apply(manifest):
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)
    kubectl("-n", SYSTEM, "rollout", "status", f"deployment/{OPERATOR}", "--timeout=120s")


def _without(text, field):
    """The CRD without this field of the spec: from its line up to the next one that is indented no deeper."""
    deeper = rf"(?m)^( +){field}:\n(?:\1 +.*\n)+"
    shorter, count = re.subn(deeper, "", text, count=1)
    equal(f"places of {field}", count, 1)
    return shorter
