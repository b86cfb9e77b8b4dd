"""Installing, upgrading and removing the operator, by Helm and by kubectl. Last of all: the others need it installed."""

from kit import CHART, CHROMA, COLLECTION, OPERATOR, OPERATOR_IMAGE, SYSTEM, equal, helm, install, kubectl, local, slow


def upgraded_removed_and_installed_by_kubectl(s):
    """`helm upgrade` keeps a run running, `helm uninstall` leaves objects and CRD, and install.yaml takes over."""
    s.claim("dev", 2000)
    m = s.migrate("outlives", local("dev"), s.prod.endpoint(), batch=slow(100))
    m.copying()
    job = m.status["jobName"]
    install(**{"log.level": "debug"})
    status = m.verified(2000)
    equal("Job and attempts", (status["jobName"], status["attempts"]), (job, 1))
    s.prod.holds(COLLECTION, 2000)
    helm("uninstall", OPERATOR, "-n", SYSTEM, "--wait")
    equal("the object is left", m.status["verification"]["result"], "Verified")
    manifest = (CHART.parent.parent / "deploy" / "install.yaml").read_text()
    image = next(line.split()[-1] for line in manifest.splitlines() if line.strip().startswith("image: "))
    manifest = manifest.replace(image, OPERATOR_IMAGE).replace("docker.io/chromadb/chroma:1.5.9", CHROMA)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)
    kubectl("-n", SYSTEM, "rollout", "status", f"deployment/{OPERATOR}", "--timeout=120s")
    s.claim("into")
    s.migrate("anew", local("dev"), local("into"), batch={"size": 500, "delay": "0s"}).verified(2000)


upgraded_removed_and_installed_by_kubectl.alone = True
