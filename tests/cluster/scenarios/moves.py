"""Memories that move: every direction, through what users have between them."""

import json
import time

from kit import CHART, COLLECTION, OLD_CHROMA, Migration, api, equal, kubectl, local, renamed, slow, until


def there_and_back(s):
    """2,000 memories from a claim to a server and back into another claim, with progress, events and metrics."""
    s.claim("dev", 2000)
    there = s.migrate("there", local("dev"), s.prod.endpoint(), collections=renamed("there_and_back"), pacing=slow(100))
    there.copying()
    row = s.k("get", "memmig", "there").splitlines()[1].split()
    equal("kubectl get while it copies", row[1:4], ["dev:chroma_db", f"prod/chroma#{s.namespace}", "Copying"])
    first = there.verified(2000)
    s.prod.holds("there_and_back", 2000)
    back = s.migrate("back", s.prod.endpoint(), local("restored"), collections=renamed(COLLECTION, "there_and_back"))
    back.reaches("TargetNotFound")
    s.claim("restored")
    second = back.verified(2000)
    fingerprints = [status["collections"][0]["fingerprint"] for status in (first, second)]
    equal("fingerprints", fingerprints[0], fingerprints[1])
    told = [reason for reason, _ in there.events()]
    for reason in ("Started", "Copying", "Progress", "Verified"):
        equal(f"an event {reason}", reason in told, True)
    metrics = "/api/v1/namespaces/memory-migration-system/services/memory-migration-operator:8080/proxy/metrics"
    series = f'memory_migration_records{{name="there",namespace="{s.namespace}",state="verified"}} 2000'
    # the leader has them, and a new one has them after its first look
    until("the metrics", lambda: series in api().get(metrics))
    s.chroma("restored", claim="restored", path="/data/chroma_db").holds(COLLECTION, 2000)


def claim_to_claim(s):
    """From one claim into another."""
    s.claim("from", 300)
    s.claim("into")
    s.migrate("copy", local("from"), local("into", "stores/new")).verified(300)
    s.chroma("look", claim="into", path="/data/stores/new").holds(COLLECTION, 300)


def server_to_server(s):
    """From a server in one namespace to a server in another."""
    source = s.chroma()
    s.claim("dev", 300)
    s.migrate("fill", local("dev"), source.endpoint()).verified(300)
    s.migrate("promote", source.endpoint(), s.prod.endpoint(), collections=renamed("server_to_server")).verified(300)
    s.prod.holds("server_to_server", 300)


def tenants_and_renames(s):
    """One collection under two new names into a tenant and database that are waited for, and the whole database from there."""
    s.claim("dev", 300)
    tenant = f"team-{time.time_ns()}"
    target = s.prod.within(tenant, "notes")
    two = [s.migrate(name, local("dev"), target.endpoint(), collections=renamed(name)) for name in ("first", "second")]
    for m in two:
        m.reaches("TargetNotFound")
    s.prod.call("POST", "/tenants", {"name": tenant})
    s.prod.call("POST", f"/tenants/{tenant}/databases", {"name": "notes"})
    for m in two:
        status = m.verified(300)
        equal("collections in the status", [c["targetName"] for c in status["collections"]], [m.name])
        target.holds(m.name, 300)
    s.migrate("whole", target.endpoint(), s.prod.endpoint()).verified(600)
    s.prod.holds("first", 300)
    s.prod.holds("second", 300)


def databases(s):
    """Users' collections of two databases into another server under new names: by one object of fifteen lines."""
    source, target = s.chroma("from"), s.chroma("into")
    s.claim("dev", 300)
    blue, green = (source.within("default_tenant", name) for name in ("customer-blue", "customer-green"))
    for database in (blue, green):
        source.call("POST", "/tenants/default_tenant/databases", {"name": database.database})
    for database, name in ((blue, "user-memory-1"), (blue, "user-memory-2"), (blue, "user-memory-x-tmp"), (green, "user-memory-1")):
        filled = f"fill-{database.database}-{name}"
        s.migrate(filled, local("dev"), database.endpoint(), collections=renamed(name)).verified(300)
    example = (CHART.parent.parent / "deploy" / "examples" / "users-of-two-databases.yaml").read_text()
    manifest = example.replace("{name: chroma, namespace: dev}", "{name: from}").replace("{name: chroma, namespace: prod}", "{name: into}")
    manifest += "  pacing: {batchSize: 100, delay: 0s}\n"
    s.k("apply", "-f", "-", stdin=manifest)
    m = Migration(s, "promote-users")
    status = m.verified(900)
    moved = sorted((c["database"], c["targetName"]) for c in status["collections"])
    expected = [("customer-blue", "prod-memory-1"), ("customer-blue", "prod-memory-2"), ("customer-green", "prod-memory-1")]
    equal("collections in the status", moved, expected)
    for database, name in expected:
        target.within("default_tenant", database).holds(name, 300)
    equal("what is excluded", target.within("default_tenant", "customer-blue").collection("prod-memory-x-tmp"), None)
    until("no lock is left", lambda: not m.locks())


def dry_run(s):
    """A dry run says what would be done, and writes nothing."""
    s.claim("dev", 300)
    plan = s.migrate("plan", local("dev"), s.prod.endpoint(), collections=renamed("dry_run"), dryRun=True)
    plan.reaches("DryRunCompleted")
    equal("records to copy", plan.status["counts"]["source"], 300)
    equal("the collection", s.prod.collection("dry_run"), None)


def applied_before_all_else(s):
    """Applied before the claim and the server exist: ends verified without an edit."""
    early = s.migrate("early", local("dev"), {"remote": {"service": {"name": "chroma"}}})
    early.reaches("SourceNotFound")
    s.claim("dev", 300)
    early.reaches("TargetNotFound")
    server = s.chroma()
    early.verified(300)
    server.holds(COLLECTION, 300)


def run_id(s):
    """A finished run never runs again; a new runId runs it again and copies nothing twice."""
    s.claim("dev", 300)
    m = s.migrate("again", local("dev"), s.prod.endpoint(), collections=renamed("run_id"))
    job = m.verified(300)["jobName"]
    m.patch(pacing={"batchSize": 50}, suspend=True)
    m.seen()
    m.patch(suspend=False)
    m.seen()
    equal("the Job after edits that are no run", m.status["jobName"], job)
    m.patch(runId="second")
    until("a new Job", lambda: m.status.get("jobName") not in (None, "", job))
    equal("records present at the second run", m.verified(300)["counts"]["present"], 300)
    s.prod.holds("run_id", 300)


def a_name_as_long_as_names_can_be(s):
    """An object with a name of 253 characters: its Job has a short one, and kubectl shows which."""
    s.claim("dev", 300)
    name = "m" + "emory-" * 42
    name = name[:252] + "x"
    m = s.migrate(name, local("dev"), s.prod.endpoint(), collections=renamed("long_name"))
    status = m.verified(300)
    equal("the Job's name is short", len(status["jobName"]) <= 63, True)
    equal("kubectl get", name in kubectl("-n", s.namespace, "get", "memmig", "-o", "name"), True)
    s.prod.holds("long_name", 300)


def behind_a_proxy_with_a_token(s):
    """A server behind a proxy that asks for a bearer token: a wrong one is named with the remedy, the right one goes on."""
    s.gateway("gateway", "s3cret-of-the-gateway")
    s.claim("dev", 300)
    s.secret("chroma", token="wrong")
    target = {"service": {"name": "gateway", "port": 8000}, "database": s.namespace}
    target["auth"] = {"bearer": {"secretKeyRef": {"name": "chroma", "key": "token"}}}
    m = s.migrate("token", local("dev"), {"remote": target})
    until("the message speaks of the token", lambda: ("check the bearer token" in m.say(), m.say()))
    s.secret("chroma", token="s3cret-of-the-gateway")
    m.patch(runId="with the right token")
    m.verified(300)
    s.prod.holds(COLLECTION, 300)
    seen = s.k("get", "memmig,jobs,pods,events", "-o", "yaml") + s.k("logs", f"job/{m.status['jobName']}", "--all-containers")
    equal("the token in what people see", "s3cret" in seen, False)


def over_tls_with_a_ca_of_its_own(s):
    """A url with https, by a certificate that only a CA in a Secret vouches for."""
    ca = s.gateway("gateway", "t0ken", tls=True)
    s.claim("dev", 300)
    s.secret("chroma", token="t0ken", **{"ca.crt": ca})
    target = {"url": f"https://gateway.{s.namespace}.svc:8000", "database": s.namespace}
    target["auth"] = {"bearer": {"secretKeyRef": {"name": "chroma", "key": "token"}}}
    m = s.migrate("tls", local("dev"), {"remote": target})
    until("the message speaks of the certificate", lambda: ("certificate" in m.say().lower(), m.say()))
    m.patch(target={"remote": target | {"tls": {"ca": {"secretKeyRef": {"name": "chroma", "key": "ca.crt"}}}}})
    m.verified(300)
    s.prod.holds(COLLECTION, 300)


def into_an_old_server(s):
    """Into Chroma 0.5.23 and back out of it."""
    old = s.chroma("old", image=OLD_CHROMA)
    s.claim("dev", 300)
    s.migrate("down", local("dev"), old.endpoint()).verified(300)
    s.migrate("up", old.endpoint(), s.prod.endpoint()).verified(300)
    s.prod.holds(COLLECTION, 300)


def compared_only(s):
    """mode: Verify proves what a migration left, with nothing writable mounted."""
    s.claim("dev", 300)
    s.migrate("there", local("dev"), s.prod.endpoint(), collections=renamed("compared")).verified(300)
    m = s.migrate("look", local("dev"), s.prod.endpoint(), collections=renamed("compared"), mode="Verify")
    status = m.verified(300)
    equal("records that it copied", status["counts"]["copied"], 0)
    volumes = json.loads(s.k("get", "job", status["jobName"], "-o", "jsonpath={.spec.template.spec.volumes}"))
    claims = [volume["persistentVolumeClaim"] for volume in volumes if "persistentVolumeClaim" in volume]
    equal("claims that it may write", [claim["claimName"] for claim in claims if not claim.get("readOnly")], [])
