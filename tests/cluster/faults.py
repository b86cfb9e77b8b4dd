"""The fault campaign on the cluster that KUBECONFIG names: faults.py [--seed N] [--quick] [ROW...]

A row is chosen by words of its name. The same seed repeats the same moments; a campaign that was stopped goes on where it
was, and `--again` forgets what was done. Writes the table into docs/reliability.md; exit code 1 if a promise was broken.
Only on the cluster of tests: it kills processes of nodes.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import random
import statistics
import sys
import time
import traceback

import kit
from campaign import COUNT, ROWS, Trial, has_succeeded

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- cluster: begin, written by make faults-cluster -->", "<!-- cluster: end -->"
BROKEN = ("lost", "twice", "foreign", "false", "hung")


def one(row, scenario, seed, number):
    """What came of one trial."""
    trial = Trial(scenario, random.Random(f"{seed} {row.name} {number}"), number)
    outcome, started = {"hung": 0, "why": "", "seconds": None}, time.monotonic()
    try:
        row.trial(trial)
        over = time.monotonic()
        trial.succeed()
        outcome["seconds"] = time.monotonic() - over
    except Exception as error:
        outcome |= {"hung": 1, "why": "".join(traceback.format_exception(error, limit=-3))}
    outcome |= judged(trial, outcome)
    took = time.monotonic() - started
    bad = [f"{key} {outcome[key]}" for key in BROKEN if outcome[key]]
    print(f"{'FAILED' if bad else 'passed'}  {row.name} {number} in {took:.0f} s {' '.join(bad)} {outcome['why']}", flush=True)
    return outcome


def judged(trial, outcome):
    """By the official client. What lacks of a run that has not ended well is not lost: it did not claim to be there."""
    found = {"lost": 0, "twice": 0, "foreign": 0, "false": 0}
    try:
        for look in trial.looks:
            seen = trial.s.judged(look.server, look.collection, look.count, look.foreign)
            if look.partly or outcome["hung"]:
                seen["lost"] = 0
            found = {key: found[key] + seen.get(key, 0) for key in found}
        claimed = not outcome["hung"] or any(has_succeeded(m) for m in trial.ends)
        found["false"] = int(claimed and any(found.values()))
    except Exception as error:
        outcome |= {"hung": 1, "why": outcome["why"] + f"not judged: {error}"}
    return found


def run(row, seed, quick, done, keep):
    tries = min(row.tries, row.quick) if quick else row.tries
    left = [number for number in range(tries) if str(number) not in done]
    if not left:
        return
    if row.two_nodes and not kit.has_two_nodes():
        print(f"skipped {row.name}: it needs a second node: NODES=2", flush=True)
        return
    scenario = kit.Scenario("faults_" + "".join(c if c.isalnum() else "_" for c in row.name.lower())[:40].strip("_"))
    if not row.two_nodes:
        scenario.claim("dev", COUNT)
    with row.around(), concurrent.futures.ThreadPoolExecutor(row.together) as pool:
        running = {pool.submit(one, row, scenario, seed, number): number for number in left}
        for future in concurrent.futures.as_completed(running):
            done[str(running[future])] = future.result()
            keep()
    kit.kubectl("delete", "namespace", scenario.namespace, "--wait=false", check=False)


def table(seed, outcomes):
    lines = [
        f"`make faults-cluster SEED={seed}`, on {'two nodes' if kit.has_two_nodes() else 'one node'}:",
        "",
        "| fault | how | tried | lost | twice | of others | false | hung | seconds to recover: median, most |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        done = outcomes.get(row.name, {}).values()
        if not done:
            continue
        sums = [str(sum(outcome[key] for outcome in done)) for key in BROKEN]
        seconds = [outcome["seconds"] for outcome in done if outcome["seconds"] is not None and not row.two_nodes]
        took = f"{statistics.median(seconds):.0f}, {max(seconds):.0f}" if seconds else ""
        lines.append("| " + " | ".join([row.name, row.how, str(len(done)), *sums, took]) + " |")
    return "\n".join(lines)


def write(text):
    document = DOCUMENT.read_text()
    before, rest = document.split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=2008)
    parser.add_argument("--quick", action="store_true", help="few of each, and not those that take minutes")
    parser.add_argument("--again", action="store_true", help="forgets what was done")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    if not kit.OWN_CLUSTER:
        sys.exit("the campaign kills processes of nodes, which only the cluster of tests allows")
    kept = ROOT / "target" / f"faults-cluster-{args.seed}.json"
    kept.parent.mkdir(exist_ok=True)
    outcomes = json.loads(kept.read_text()) if kept.exists() and not args.again else {}
    keep = lambda: kept.write_text(json.dumps(outcomes))
    chosen = [row for row in ROWS if not args.names or any(name in row.name for name in args.names)]
    kit.install_into_its_namespace()
    for row in chosen:
        run(row, args.seed, args.quick, outcomes.setdefault(row.name, {}), keep)
        if not args.quick:
            write(table(args.seed, outcomes))
    all = [outcome for row in chosen for outcome in outcomes[row.name].values()]
    sums = {key: sum(outcome[key] for outcome in all) for key in BROKEN}
    print(f"{len(all)} tried: " + ", ".join(f"{value} {key}" for key, value in sums.items()), flush=True)
    os._exit(1 if any(sums.values()) else 0)


main()
