"""Measures ours, a plain loop and the engine's ceiling side by side: bench.py --binary FILE --server FILE --cache DIR [--quick]

Writes docs/benchmarks.json and the tables between the markers of docs/benchmarks.md. BENCH_RECORDS names the sizes.
`--search` measures the search check alone, `--fill` new local stores alone; they leave the other figures as they are.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import grow
import others
import records
import tables
from measure import machine, peak_of, run, spread
from mock import Mock
from server import Server

DOCS = Path(__file__).resolve().parent.parent / "docs"
FAST = ["--batch-size", "1000", "--delay", "0s"]
ADAPTIVE = ["--pacing", "adaptive", "--max-slowdown", "none"]
FILL = [*FAST, "--fill", "files"]
BOUNDED = ["--pacing", "adaptive"]
SEED_RECORDS = 200


class Bench:
    def __init__(self, options):
        self.options = options
        self.sizes = [int(size) for size in os.environ.get("BENCH_RECORDS", "2000,5000" if options.quick else "20000,100000").split(",")]
        self.paired = 2_000 if options.quick else 20_000
        self.pairs = 3 if options.quick else 5
        self.extras = 3_000 if options.quick else 100_000
        self.seconds_bounded = 15 if options.quick else 45
        self.results = {"machine": machine(), "quick": options.quick, "records": self.sizes, "copies": []}

    def store(self, count):
        return records.store(self.options.cache, count)

    def server(self, folder=None):
        return Server(self.options.server, folder)

    def ours(self, source, target, extra, name=None, **how):
        arguments = [self.options.binary, "migrate", "--source-config", str(source), "--target-config", str(target)]
        arguments += ["--chroma-bin", self.options.server, "--collection", f"{records.NAME}={name or records.NAME}"]
        return run([*arguments, *extra], **how)

    def loop(self, way, source, port):
        return peak_of(sys.executable, others.__file__, way, source, port)

    def say(self, text):
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def copied(self, count, direction, what, seconds, peak, cpu, measured=None):
        """`cpu` is that of the client and of the engines, in seconds; the loop's own engine is part of the client."""
        row = {"records": count, "direction": direction, "what": what, "seconds": seconds, "peakMiB": peak}
        row |= {"cpu": cpu[0], "engineCpu": cpu[1]}
        if measured:
            row |= {"copying": measured.copying(), "verifying": measured.verifying()}
        self.results["copies"].append(row)
        self.say(f"{direction}, {count} records, {what}: {seconds:.1f} s, {peak:.0f} MiB")

    def to_remote(self, count, server):
        for what, extra in (("--batch-size 1000 --delay 0s", FAST), ("--pacing adaptive --max-slowdown none", ADAPTIVE)):
            name = f"to-remote-{count}-{len(self.results['copies'])}"
            before = server.cpu()
            measured = self.ours(self.store(count), server.url, extra, name)
            cpu = measured.cpu, server.cpu() - before
            self.copied(count, "local to remote", what, measured.seconds, measured.peak_mib, cpu, measured)
            server.connection().delete(name)
        before = server.cpu()
        seconds, peak, cpu = self.loop("to-remote", self.store(count), server.port)
        self.copied(count, "local to remote", "plain Python loop", seconds, peak, (cpu, server.cpu() - before))

    def to_local(self, count):
        ways = (("--batch-size 1000 --delay 0s", FAST), ("--pacing adaptive --max-slowdown none", ADAPTIVE))
        with self.scratch(count) as folder, self.server(folder) as source:
            for what, extra in ways:
                with tempfile.TemporaryDirectory(prefix="bench-") as into:
                    before = source.cpu()
                    measured = self.ours(source.url, f"{into}/store", extra)
                    cpu = measured.cpu, source.cpu() - before + measured.cpu_of_children
                    self.copied(count, "remote to local", what, measured.seconds, measured.peak_mib, cpu, measured)
            before = source.cpu()
            seconds, peak, cpu = self.loop("to-local", records.NAME, source.port)
            self.copied(count, "remote to local", "plain Python loop", seconds, peak, (cpu, source.cpu() - before))

    def scratch(self, count):
        """A copy of a store, for a server to open."""
        scratch = tempfile.TemporaryDirectory(prefix="bench-copy-")
        shutil.copytree(self.store(count), scratch.name, dirs_exist_ok=True)
        return scratch

    def seed_defaults(self, server):
        before = server.cpu()
        measured = self.ours(self.store(SEED_RECORDS), server.url, [], "seed")
        cpu = measured.cpu, server.cpu() - before
        what = "the seed's defaults (10 records, 1 s)"
        self.copied(SEED_RECORDS, "local to remote", what, measured.seconds, measured.peak_mib, cpu, measured)

    def bounded(self, server):
        """Adaptive with its default bound, beside somebody who reads: for a minute, or until it is done."""
        count = self.sizes[0]
        connection = server.connection()
        quiet = connection.create("quiet")
        connection.add(quiet, records.bodies(records.CHUNK, records.CHUNK)[0])
        rows = []
        for what, extra in (("nothing is written", None), ("--pacing adaptive", BOUNDED), ("--pacing adaptive --max-slowdown none", ADAPTIVE)):
            with others.Probe(server, "quiet") as probe:
                if extra is None:
                    time.sleep(self.seconds_bounded / 3)
                    rate = None
                else:
                    measured = self.ours(self.store(count), server.url, extra, f"bounded-{len(rows)}", stop_after=self.seconds_bounded)
                    done, at = measured.records["copying"]
                    rate = done / max(0.1, at - measured.stages["copying"])
            rows.append({"what": what, "recordsPerSecond": rate, "p95Ms": probe.p95_ms(), "probes": len(probe.took)})
            self.say(f"beside a reader, {what}: {rate and round(rate)} records/s, p95 of a read {rows[-1]['p95Ms']:.1f} ms")
        self.results["bounded"] = rows

    def ceiling(self, server):
        """The best cell, then that cell and ours in turns."""
        count = self.paired
        cells = []
        sizes, lanes = ((100, 1000), (1, 2)) if self.options.quick else ((100, 300, 1000, 2500, 5000), (1, 2, 4, 8))
        for batch in sizes:
            # an add costs more the more there is: a cell of few records would tell little
            short = 10_000 if not self.options.quick else 1000
            bodies = records.bodies(short, batch)
            for connections in lanes:
                rate = others.add_rate(server, "ceiling", bodies, connections, short)
                cells.append({"batch": batch, "connections": connections, "recordsPerSecond": rate})
                self.say(f"ceiling, {batch} records x {connections}: {rate:.0f} records/s")
        # a short rate can be luck: the best three are measured over all records
        best = max(
            sorted(cells, key=lambda cell: -cell["recordsPerSecond"])[:3],
            key=lambda cell: self.sustained(server, count, cell),
        )
        bodies = records.bodies(count, best["batch"])
        ceiling, adaptive, fixed = [], [], []

        def ours(kept, extra):
            measured = self.ours(self.store(count), server.url, extra, "ours")
            kept.append(count / measured.copying())
            server.connection().delete("ours")

        turns = [
            lambda: ceiling.append(others.add_rate(server, "ceiling", bodies, best["connections"], count)),
            lambda: ours(adaptive, ADAPTIVE),
            lambda: ours(fixed, FAST),
        ]
        for turn in range(self.pairs):
            # each is first, second and third in turn
            for at in range(len(turns)):
                turns[(at + turn) % len(turns)]()
            self.say(f"turn {turn + 1}: ceiling {ceiling[-1]:.0f}, adaptive {adaptive[-1]:.0f}, fixed {fixed[-1]:.0f} records/s")
        self.results["ceiling"] = {
            "records": count,
            "cells": cells,
            "best": best,
            "ceiling": spread(ceiling),
            "adaptive": spread(adaptive),
            "fixed": spread(fixed),
            "adaptiveShare": spread([one / all for one, all in zip(adaptive, ceiling)]),
            "fixedShare": spread([one / all for one, all in zip(fixed, ceiling)]),
        }

    def sustained(self, server, count, cell):
        rate = others.add_rate(server, "ceiling", records.bodies(count, cell["batch"]), cell["connections"], count)
        self.say(f"ceiling, {cell['batch']} records x {cell['connections']}, all records: {rate:.0f} records/s")
        return rate

    def reading(self):
        count = self.sizes[-1] if self.options.quick else 100_000
        rows = []
        inspect = [self.options.binary, "inspect", "--records"]
        local = [run([*inspect, str(self.store(count))]) for _ in range(3)]
        rows.append({"what": "ours, from the files", "seconds": min(r.seconds for r in local), "peakMiB": local[-1].peak_mib})
        with self.scratch(count) as folder, self.server(folder) as server:
            rows.append({"what": "HTTP, pages of 1000", "seconds": others.read_pages(server, records.NAME, 1000)})
            rows.append({"what": "HTTP, by id, 1000 x 4 connections", "seconds": others.read_by_id(server, records.NAME, 1000, 4)})
            measured = run([*inspect, server.url])
            rows.append({"what": "ours, over HTTP", "seconds": measured.seconds, "peakMiB": measured.peak_mib})
        for row in rows:
            self.say(f"reading {count} records, {row['what']}: {row['seconds']:.2f} s")
        self.results["reading"] = {"records": count, "rows": rows}

    def search(self):
        """Verification with the search check and without, in turns; then the same where the target holds many records more."""
        rows, load = [], machine()["loadBefore"]
        for count, extras in ((self.sizes[-1], 0), (self.sizes[0], self.extras)):
            source = self.store(count)
            with self.scratch(count + extras) as folder, self.server(folder) as server:
                arguments = [self.options.binary, "verify", "--source-config", str(source), "--target-config", server.url]
                runs, cpu = {"off": [], "report": []}, {"off": [], "report": []}
                # the first run of each also warms the server
                for turn in range(self.pairs + 1):
                    for mode, kept in runs.items():
                        before = server.cpu()
                        measured = run([*arguments, "--collection", records.NAME, "--search", mode])
                        if turn:
                            kept.append(measured)
                            cpu[mode].append(measured.cpu + server.cpu() - before)
            row = {"records": count, "extras": extras}
            for mode, kept in runs.items():
                row[mode] = spread([one.seconds for one in kept]) | {"peakMiB": statistics.median(one.peak_mib for one in kept)}
                row[mode] |= {"cpu": statistics.median(cpu[mode])}
            told = runs["report"][-1].report["collections"][0]["search"]
            row |= {key: told.get(key) for key in ("queries", "notJudged", "recallMean")} | {"filters": told["filters"]}
            rows.append(row)
            with_it, without = row["report"], row["off"]
            self.say(f"search check, {count} records and {extras} more in the target: {with_it['median']:.1f} s, without {without['median']:.1f} s")
        self.results["search"] = {"rows": rows, "loadBefore": load, "date": time.strftime("%Y-%m-%d")}

    def growth(self):
        rows = []
        for count in (2_000, 6_000, 20_000) if self.options.quick else (10_000, 100_000, 1_000_000):
            writer = grow.grow if count > 100_000 else records.write
            source = records.store(self.options.cache, count, writers=(writer,))
            self.drop_caches(source)
            with Mock() as mock:
                copy = self.ours(source, mock.url, [*ADAPTIVE, "--verification", "counts"])
            both = run([self.options.binary, "verify", "--source-config", str(source), "--target-config", str(source)])
            rows.append({"records": count, "copySeconds": copy.seconds, "copyPeakMiB": copy.peak_mib})
            rows[-1] |= {"verifySeconds": both.seconds, "verifyPeakMiB": both.peak_mib}
            self.say(f"{count} records: to a mock {copy.seconds:.1f} s, {copy.peak_mib:.0f} MiB; verified {both.seconds:.1f} s, {both.peak_mib:.0f} MiB")
        self.results["growth"] = rows

    def drop_caches(self, source):
        """Every size is read once before, so that all are in the page cache alike."""
        for file in Path(source).rglob("*"):
            if file.is_file():
                with open(file, "rb") as stream:
                    while stream.read(1 << 24):
                        pass

    def fill(self):
        """Into a new local store: through Chroma, by its files, and the plain loop, in turns."""
        part = {"date": time.strftime("%Y-%m-%d"), "loadBefore": os.getloadavg()[0], "rows": []}
        for count in self.sizes:
            with self.scratch(count) as folder, self.server(folder) as server:
                ways = (
                    ("remote to local", server.url, "to-local", records.NAME),
                    ("local to local", self.store(count), "among-stores", self.store(count)),
                )
                for direction, source, loop, of_loop in ways:
                    rows = {}
                    for _ in range(self.pairs - 2 if count <= self.paired else 1):
                        for what, extra in (("--fill engine", FAST), ("--fill files", FILL)):
                            with tempfile.TemporaryDirectory(prefix="bench-") as into:
                                before = server.cpu()
                                one = self.ours(source, f"{into}/store", extra)
                            cpu = one.cpu + one.cpu_of_children + server.cpu() - before
                            rows.setdefault(what, []).append((one.seconds, cpu, one.peak_mib, one.peak_of_children, one.steps()))
                        before = server.cpu()
                        seconds, peak, cpu = self.loop(loop, of_loop, server.port)
                        rows.setdefault("plain Python loop", []).append((seconds, cpu + server.cpu() - before, peak, 0, {}))
                        self.say(f"{direction}, {count} records: {({what: round(turns[-1][0], 1) for what, turns in rows.items()})}")
                    for what, turns in rows.items():
                        seconds, cpu, peak, of_children, steps = zip(*turns)
                        row = {"records": count, "direction": direction, "what": what, "turns": seconds}
                        row |= {"seconds": statistics.median(seconds), "cpu": statistics.median(cpu), "peakMiB": max(peak)}
                        row |= {"childrenMiB": max(of_children), "steps": {step: statistics.median(one[step] for one in steps) for step in steps[0]}}
                        part["rows"].append(row)
        self.results["fill"] = part

    def one_part(self, part):
        """One part, beside the figures of the last whole run."""
        if not self.options.quick:
            self.results = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
        part()
        return self.results

    def all(self):
        for count in sorted({SEED_RECORDS, self.paired, *self.sizes, *(() if self.options.quick else (100_000,))}):
            self.store(count)
        started = time.monotonic()
        with self.server() as server:
            self.ceiling(server)
            self.bounded(server)
            self.seed_defaults(server)
            for count in self.sizes:
                self.to_remote(count, server)
        for count in self.sizes:
            self.to_local(count)
        self.fill()
        self.reading()
        self.search()
        self.growth()
        self.results["minutes"] = (time.monotonic() - started) / 60
        return self.results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True, help="our command, in release mode")
    parser.add_argument("--server", required=True, help="the chroma command that serves")
    parser.add_argument("--cache", required=True, help="where stores are kept")
    parser.add_argument("--search", action="store_true", help="the search check alone")
    parser.add_argument("--fill", action="store_true", help="new local stores alone")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it runs, not to measure")
    bench = Bench(parser.parse_args())
    try:
        parts = [(bench.options.search, bench.search, tables.search), (bench.options.fill, bench.fill, tables.fill)]
        alone = next((part for part in parts if part[0]), None)
        results = bench.one_part(alone[1]) if alone else bench.all()
        text = alone[2](results) if alone and bench.options.quick else tables.markdown(results)
    finally:
        # what was measured before something failed is kept, too
        if not bench.options.quick:
            (DOCS / "benchmarks.json").write_text(json.dumps(bench.results, indent=1) + "\n")
    print(text)
    if not bench.options.quick:
        tables.put(DOCS / "benchmarks.md", text)


if __name__ == "__main__":
    main()
