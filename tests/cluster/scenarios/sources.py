"""Sources as people have them: in use, owned by root, unreadable by others, left by a killed server."""

from kit import COLLECTION, equal, local, renamed

AS_ROOT = {"podTemplate": {"spec": {"securityContext": {"runAsUser": 0, "runAsNonRoot": False}}}}


def beside_a_running_server(s):
    """A claim that a running Chroma uses is read beside it, as its user, without stopping it."""
    s.claim("dev", 300, user=1234, shell="chmod -R go= /data/chroma_db")
    server = s.chroma("app", claim="dev", path="/data/chroma_db", user=1234)
    m = s.migrate("beside", local("dev"), s.prod.endpoint(), collections=renamed("beside"))
    job = m.verified(300)["jobName"]
    equal("the runner's user", s.k("get", "job", job, "-o", "jsonpath={.spec.template.spec.securityContext.runAsUser}"), "1234")
    s.prod.holds("beside", 300)
    server.holds(COLLECTION, 300)
    restarts = s.pod("app-0")["status"]["containerStatuses"][0]["restartCount"]
    equal("restarts of the server", restarts, 0)


def owned_by_root(s):
    """A store of root with mode 0600, as the official image leaves it: refused with the field to set, then read."""
    s.claim("dev", 300, user=0, shell="chmod -R go= /data/chroma_db")
    m = s.migrate("root", local("dev"), s.prod.endpoint(), collections=renamed("owned_by_root"))
    said = m.reaches("PreflightRefused")
    equal("the field is named: " + said, "runAsUser" in said, True)
    m.patch(runId="as-root", runner=AS_ROOT)
    m.verified(300)
    s.prod.holds("owned_by_root", 300)


owned_by_root.level = "baseline"


def into_a_store_of_root(s):
    """The same as target, which holds memories already: the server that writes it runs as root."""
    s.claim("dev", 300)
    s.claim("into", 2000, user=0, shell="chmod -R go= /data/chroma_db")
    s.migrate("root", local("dev"), local("into"), collections=renamed("added"), runner=AS_ROOT).verified(300)
    server = s.chroma("look", claim="into", path="/data/chroma_db", user=0)
    server.holds("added", 300)
    server.holds(COLLECTION, 2000)


into_a_store_of_root.level = "baseline"


def left_by_a_killed_server(s):
    """A store with a hot journal: read from a copy in scratch space, rolled back there, and left as it is."""
    s.claim("dev", "hot", keep=True)
    files = lambda: s.k("exec", "uses-dev", "--", "sh", "-c", "find /data -type f | sort | xargs sha256sum")  # noqa: E731
    before = files()
    equal("it has a journal", "chroma.sqlite3-journal" in before, True)
    m = s.migrate("hot", local("dev"), s.prod.endpoint(), collections=renamed("hot_journal"))
    m.verified(300)
    equal("its files", files(), before)
    s.prod.holds("hot_journal", 300)
