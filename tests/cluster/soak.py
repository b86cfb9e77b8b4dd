"""Whether the controller stays as it is, however many migrations it has seen: soak.py [--runs N] [--minutes M] [--finished N]

One migration after the other, at most so many and for at most so many minutes; 30 at once; then a restart beside so many
finished objects. Prints the controller's memory, threads and open files, and its requests to the API server for each
migration, and writes them into docs/reliability.md. Exit code 1 if something grows. Only on the cluster of tests.
"""

import argparse
import collections
import concurrent.futures
import copy
import json
import os
import pathlib
import statistics
import sys
import time

import kit
from kit import OPERATOR, SYSTEM, api, equal, local, process_of, renamed, until

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- soak: begin, written by make soak -->", "<!-- soak: end -->"
USER = f"system:serviceaccount:{SYSTEM}:{OPERATOR}"
LEADER = "memory-migration-operator-leader"
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
COUNT = 300
FAST = {"batchSize": 500, "delay": "0s"}
WARM_UP = 10
EVERY = 10
GROUP = "/apis/memory-migration.dev/v1alpha1"


class Audit:
    """The operator's requests, as the API server's audit log gets them."""

    def __init__(self):
        self.log = open(os.environ["STATE"] + "/log/audit.jsonl", encoding="utf-8")
        self.log.seek(0, os.SEEK_END)
        self.cut = ""

    def new(self):
        """(verb, resource) to the number since the last call, without the leader's Lease."""
        counts = collections.Counter()
        lines = (self.cut + self.log.read()).split("\n")
        self.cut = lines.pop()
        for event in map(json.loads, lines):
            what = event.get("objectRef", {})
            if event["user"]["username"] == USER and event["stage"] != "ResponseStarted" and what.get("name") != LEADER:
                counts[event["verb"], "/".join(filter(None, [what.get("resource"), what.get("subresource")]))] += 1
        return counts


def controller():
    pods = api().get(f"/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io%2Fname%3D{OPERATOR}")["items"]
    pod = next(p["metadata"]["name"] for p in pods if not p["metadata"].get("deletionTimestamp"))
    return process_of(SYSTEM, pod, ["memory-migration", "controller"])


def sample(number):
    """MiB that are resident, threads and open files of the controller's process."""
    status = pathlib.Path(f"/proc/{number}/status").read_text()
    field = lambda name: int(next(line.split()[1] for line in status.splitlines() if line.startswith(name)))
    return {"memory": field("VmRSS:") / 1024, "threads": field("Threads:"), "files": len(os.listdir(f"/proc/{number}/fd"))}


def run_one(s, name, server=None):
    m = s.migrate(name, local("dev"), (server or s.prod).endpoint(), collections=renamed(name), pacing=FAST)
    m.verified(COUNT)
    return m


def database(s, name):
    """A new one of the shared server."""
    databases = "/tenants/default_tenant/databases"
    s.prod.call("DELETE", f"{databases}/{name}", missing_is_fine=True)
    s.prod.call("POST", databases, {"name": name})
    return s.prod.within("default_tenant", name)


def in_sequence(s, runs, minutes, audit):
    """One row for every 10 migrations, after a first 10. Each is deleted with its collection when it has ended."""
    number, rows, end = controller(), [], time.monotonic() + 60 * minutes
    done, asked = 0, collections.Counter()
    while done < runs + WARM_UP and (time.monotonic() < end or len(rows) < 2):
        m = run_one(s, f"run-{done}")
        m.delete()
        until("it is gone", lambda: api().get(m.path) is None)
        s.prod.call("DELETE", f"/tenants/default_tenant/databases/{s.prod.database}/collections/{m.name}")
        done += 1
        if done % EVERY == 0:
            asked = audit.new()
            if done > WARM_UP:
                writes = sum(count for (verb, _), count in asked.items() if verb in WRITES)
                row = sample(number) | {"writes": writes / EVERY, "reads": (sum(asked.values()) - writes) / EVERY}
                rows.append(row)
                print(f"        after {done}: " + ", ".join(f"{key} {value:.1f}" for key, value in row.items()), flush=True)
    equal("the controller is the same process", controller(), number)
    return rows, done - WARM_UP


def flat(rows):
    """What grew from the first third to the last by more than noise: a tenth, or 2 of it."""
    third = max(len(rows) // 3, 1)
    mean = lambda part, key: statistics.mean(row[key] for row in part)
    grown = []
    for key in rows[0]:
        first, last = mean(rows[:third], key), mean(rows[-third:], key)
        if last > max(1.1 * first, first + 2):
            grown.append(f"{key} from {first:.1f} to {last:.1f}")
    return grown


def at_once(s, audit, number=30):
    """So many at the same time: the most that the controller had, and what it asked for each."""
    # Each into a database of its own: otherwise they wait for each other.
    servers = [database(s, f"{s.namespace}-{i}") for i in range(number)]
    audit.new()
    process, most, started = controller(), collections.Counter(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        running = [pool.submit(run_one, s, f"at-once-{i}", server) for i, server in enumerate(servers)]
        while not all(future.done() for future in running):
            for key, value in sample(process).items():
                most[key] = max(most[key], value)
            time.sleep(0.2)
        for future in running:
            future.result()
    took = time.monotonic() - started
    asked = audit.new()
    writes = sum(count for (verb, _), count in asked.items() if verb in WRITES)
    return dict(most) | {"seconds": took, "writes": writes / number, "reads": (sum(asked.values()) - writes) / number}


def restarted(s, number, audit):
    """A controller that starts beside so many finished objects: what it asks until it has seen all, and a minute longer."""
    example = run_one(s, "example").object()
    s.k("delete", "jobs", "--all", "--wait=true")
    kit.scale(0)
    path = f"{GROUP}/namespaces/{s.namespace}/memorymigrations"

    def finished(i):
        object = {key: copy.deepcopy(example[key]) for key in ("apiVersion", "kind", "spec")}
        object["metadata"] = {"name": f"finished-{i:04}"}
        api().call("POST", path, object)
        api().call("PATCH", f"{path}/finished-{i:04}/status", {"status": example["status"]}, "application/merge-patch+json")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(finished, range(number)))
    audit.new()
    kit.scale(1)
    metrics = f"/api/v1/namespaces/{SYSTEM}/services/{OPERATOR}:8080/proxy/metrics"
    series = f'memory_migration_status_phase{{name="finished-{number - 1:04}",namespace="{s.namespace}"'
    until("it has seen all", lambda: series in api().get(metrics))
    # What it does once it rests: the time itself is measured.
    time.sleep(60)
    asked = audit.new()
    writes = {f"{verb} {what}": count for (verb, what), count in asked.items() if verb in WRITES}
    reads = {f"{verb} {what}": count for (verb, what), count in asked.items() if verb not in WRITES}
    return sample(controller()) | {"writes": writes, "reads": reads}


def write(lines):
    before, rest = DOCUMENT.read_text().split(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.split(END)[1]}")


def cells(row):
    return [f"{row[key]:.0f}" for key in ("memory", "threads", "files")] + [f"{row[key]:.1f}" for key in ("reads", "writes")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--finished", type=int, default=2000)
    args = parser.parse_args()
    if not kit.OWN_CLUSTER:
        sys.exit("the soak reads /proc of the controller and the audit log, which only the cluster of tests allows")
    kit.install_into_its_namespace()
    s, audit = kit.Scenario("soak"), Audit()
    s.claim("dev", COUNT)
    rows, done = in_sequence(s, args.runs, args.minutes, audit)
    together = at_once(s, audit)
    start = restarted(s, args.finished, audit)
    wrong = [f"in sequence: {grown}" for grown in flat(rows)]
    wrong += [f"a restart wrote: {start['writes']}"] if start["writes"] else []
    # Lists come in pages of 500; nothing is read for each object.
    reads = sum(start["reads"].values())
    wrong += [f"a restart read {reads} times: {start['reads']}"] if reads > args.finished / 20 else []
    lines = [
        f"`make soak` ran {done} migrations of {COUNT} memories one after the other, then 30 at once, through one controller.",
        "",
        "| | MiB resident | threads | open files | reads a migration | writes a migration |",
        "|---|---|---|---|---|---|",
        *("| " + " | ".join([f"after {(i + 1) * EVERY}", *cells(row)]) + " |" for i, row in shown(rows)),
        "| " + " | ".join([f"30 at once, in {together['seconds']:.0f} s: the most", *cells(together)]) + " |",
        "",
        f"A controller that started beside {args.finished:,} finished migrations wrote {sum(start['writes'].values())} times and read {reads} times "
        f"({', '.join(f'{count} {what}' for what, count in sorted(start['reads'].items()))}) in its first minute, and then had "
        f"{start['memory']:.0f} MiB, {start['threads']} threads and {start['files']} open files.",
    ]
    print("\n".join(lines + wrong), flush=True)
    write(lines)
    kit.kubectl("delete", "namespace", s.namespace, "--wait=false", check=False)
    sys.exit(1 if wrong else 0)


def shown(rows):
    """The first, the last, and a few between."""
    step = max(len(rows) // 6, 1)
    return [(i, row) for i, row in enumerate(rows) if i % step == 0 or i == len(rows) - 1]


main()
