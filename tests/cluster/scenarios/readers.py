"""Pods that only read a target's claim: they neither stop a run nor hold one up."""

from kit import COLLECTION, equal, local, renamed, slow, until


def reader_of_the_target(s):
    """A pod that mounts the target's claim read-only is there from before the run to its end: no wait, no stop."""
    s.claim("dev", 2000)
    s.claim("into")
    s.use("into", read_only=True)
    m = s.migrate("beside", local("dev"), local("into"), pacing=slow(100))
    m.copying()
    equal("attempts", m.verified(2000)["attempts"], 1)
    equal("nobody was told of a volume in use", [e for e in m.events() if e[0] == "VolumeInUse"], [])
    s.free("into")
    s.chroma("look", claim="into", path="/data/chroma_db").holds(COLLECTION, 2000)


def dry_run_beside_a_writer(s):
    """A dry run into a claim that another migration writes, and one that reads from it: neither stops the writer."""
    s.claim("dev", 2000)
    s.claim("into")
    s.migrate("first", local("dev"), local("into"), pacing={"batchSize": 500, "delay": "0s"}).verified(2000)
    writer = s.migrate("writer", local("dev"), local("into", path="second"), pacing=slow(100))
    writer.copying()
    plan = s.migrate("plan", local("dev"), local("into", path="third"), dryRun=True)
    restore = s.migrate("restore", local("into"), s.prod.endpoint(), collections=renamed("restored"))
    plan.reaches("DryRunCompleted")
    restore.verified(2000)
    equal("attempts of the writer", writer.verified(2000)["attempts"], 1)
    equal("nobody was told of a volume in use", [e for e in writer.events() if e[0] == "VolumeInUse"], [])
    s.prod.holds("restored", 2000)
    s.chroma("look", claim="into", path="/data/second").holds(COLLECTION, 2000)


def reader_that_becomes_a_writer(s):
    """A reader turns into a writer: the run is stopped for it, and goes on when that one is gone."""
    s.claim("dev", 2000)
    s.claim("into")
    s.use("into", read_only=True)
    m = s.migrate("watched", local("dev"), local("into"), pacing=slow())
    m.copying()
    s.free("into")
    s.use("into", wait=False)
    equal("the pod is named", "uses-into" in m.reaches("VolumeInUse"), True)
    until("no runner pod is left", lambda: not m.pods(alive=True))
    # The store belongs to the user of the pod that was on the claim when the run began: it must be there again before the
    # run goes on.
    m.patch(suspend=True)
    s.free("into")
    s.use("into", read_only=True)
    m.patch(suspend=False, pacing={"batchSize": 500, "delay": "0s"})
    m.verified(2000)
