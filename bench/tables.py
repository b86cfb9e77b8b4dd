"""The results as Markdown, and into a file between its markers. Measures nothing."""

BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"


def table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(value, digits=0):
    return "" if value is None else f"{value:,.{digits}f}"


def against(value, goal, is_met):
    return [number(value, 2), goal, "yes" if is_met else "**no**"]


def copies(results):
    rows = []
    for row in results["copies"]:
        end_to_end = row["records"] / row["seconds"]
        parts = [number(row.get(part), 1) for part in ("copying", "verifying")]
        cpu = [number(row["cpu"], 1), number(row["engineCpu"], 1)]
        rows.append([f"{row['direction']}, {row['what']}", number(row["records"]), number(row["seconds"], 1), *parts, number(end_to_end), number(row["peakMiB"]), *cpu])
    return table(["copy", "records", "s", "of it copying", "verifying", "records/s", "peak MiB", "CPU s", "engines' CPU s"], rows)


def cells(ceiling):
    lanes = sorted({cell["connections"] for cell in ceiling["cells"]})
    rates = {(cell["batch"], cell["connections"]): cell["recordsPerSecond"] for cell in ceiling["cells"]}
    rows = [[number(batch), *(number(rates[batch, lane]) for lane in lanes)] for batch in sorted({cell["batch"] for cell in ceiling["cells"]})]
    return table(["records in one add", *(f"{lane} connection{'s' * (lane > 1)}" for lane in lanes)], rows)


def turns(ceiling):
    best = ceiling["best"]
    names = {
        "ceiling": f"ceiling: {best['batch']} x {best['connections']}, bodies prepared",
        "adaptive": "ours, --pacing adaptive --max-slowdown none",
        "fixed": "ours, --batch-size 1000 --delay 0s",
    }
    rows = []
    for key, name in names.items():
        one = ceiling[key]
        share = one["median"] / ceiling["ceiling"]["median"]
        by_turn = ceiling.get(f"{key}Share")
        by_turn = f"{by_turn['median']:.2f} ({by_turn['low']:.2f} to {by_turn['high']:.2f})" if by_turn else ""
        rows.append([name, number(one["median"]), f"{number(one['low'])} to {number(one['high'])}", number(share, 3), by_turn])
    return table(["writing", "records/s, median", "interval", "of the ceiling", "of the same turn's ceiling"], rows)


def reading(results):
    first = results["reading"]["rows"][0]["seconds"]
    rows = [[row["what"], number(row["seconds"], 2), number(row["seconds"] / first, 1), number(row.get("peakMiB"))] for row in results["reading"]["rows"]]
    return table(["reading", "s", "times ours", "peak MiB"], rows)


def bounded(results):
    rows = [[row["what"], number(row["recordsPerSecond"]), number(row["p95Ms"], 1)] for row in results["bounded"]]
    return table(["beside another reader", "records/s", "p95 of that reader, ms"], rows)


def more(row):
    """By what share the search check makes verification longer, and by what share it takes more CPU time of both ends."""
    off, report = row["off"], row["report"]
    return [report[what] / off[what] - 1 for what in ("median", "cpu")]


def search(results):
    rows = []
    for row in results["search"]["rows"]:
        off, report, filters = row["off"], row["report"], row["filters"]
        times = [f"{number(one['median'], 1)} ({number(one['low'], 1)} to {number(one['high'], 1)})" for one in (off, report)]
        shares = [number(share, 2) for share in more(row)]
        cpu = [number(one["cpu"], 1) for one in (off, report)]
        judged = f"{row['queries']} of {row['queries'] + row['notJudged']}"
        asked = f"{filters['asked']} of {filters['asked'] + filters['notJudged']}"
        found = number(row["recallMean"], 2)
        rows.append([number(row["records"]), number(row["extras"]), *times, shares[0], *cpu, shares[1], number(off["peakMiB"]), number(report["peakMiB"]), judged, asked, found])
    return table(
        [
            "records verified",
            "others in the target",
            "s, `--search off`",
            "s, `--search report`",
            "more",
            "CPU s of both ends, `--search off`",
            "CPU s, `--search report`",
            "more",
            "peak MiB without",
            "peak MiB",
            "queries judged",
            "filters judged",
            "recall",
        ],
        rows,
    )


def fill(results):
    rows = []
    for row in results["fill"]["rows"]:
        turns = ", ".join(number(seconds, 1) for seconds in row["turns"])
        of_children = number(row["childrenMiB"]) if row.get("childrenMiB") else ""
        rows.append([row["direction"], number(row["records"]), row["what"], turns, number(row["cpu"], 1), number(row["peakMiB"]), of_children])
    return table(["copy", "records", "how", "s, each turn", "CPU s of all processes", "peak MiB of the client", "of the Chroma that it starts"], rows)


STEPS = ("preflight", "copying", "indexing", "verifying")


def steps(results):
    """Of a run that fills: how long each stage takes, until the next one begins."""
    rows = []
    for row in results["fill"]["rows"]:
        if row["what"] == "--fill files" and row.get("steps"):
            rows.append([row["direction"], number(row["records"]), *(number(row["steps"].get(step, 0), 1) for step in STEPS)])
    return table(["copy", "records", *(f"{step}, s" for step in STEPS)], rows) if rows else ""


def growth(results):
    rows = []
    for row in results["growth"]:
        each = [number(row[key], digits) for key, digits in (("copySeconds", 1), ("copyPeakMiB", 1), ("verifySeconds", 1), ("verifyPeakMiB", 1))]
        rows.append([number(row["records"]), *each])
    return table(["records", "to a mock, s", "peak MiB", "verified against itself, s", "peak MiB"], rows)


def goals(results):
    """Each goal of which there are figures: a part may be missing that was not measured yet."""
    rows = []

    def goal(what, value, text, is_met):
        rows.append([what, *against(value, text, is_met)])

    if "ceiling" in results:
        ceiling = results["ceiling"]
        for key, name in (("adaptive", "adaptive"), ("fixed", "batches of 1000, no delay")):
            share = ceiling[key]["median"] / ceiling["ceiling"]["median"]
            goal(f"writing, {name}, of the ceiling", share, ">= 0.97", share >= 0.97)
    of_copies(results, goal)
    if "reading" in results:
        rows_of = [row["seconds"] for row in results["reading"]["rows"]]
        pages, by_id = rows_of[1] / rows_of[0], rows_of[2] / rows_of[0]
        goal("local reading, times pages of 1000", pages, ">= 20", pages >= 20)
        goal("local reading, times the best over HTTP", by_id, ">= 5", by_id >= 5)
    large = [row for row in results.get("copies", []) if row["records"] == max(results["records"]) and "copying" in row]
    if large:
        peak = max(row["peakMiB"] for row in large)
        goal("peak MiB of a copy, largest", peak, "<= 64", peak <= 64)
    if "growth" in results:
        small, huge = results["growth"][-2], results["growth"][-1]
        for key in ("copyPeakMiB", "verifyPeakMiB"):
            grown = huge[key] / small[key]
            goal(f"{key[:-7]}: peak at {huge['records']:,} records, of that at {small['records']:,}", grown, "<= 1.1", grown <= 1.1)
    if large:
        slowest = max(row["verifying"] / row["copying"] for row in large)
        goal("verifying, of the time of copying, largest", slowest, "< 1", slowest < 1)
    for row in results.get("search", {"rows": []})["rows"]:
        what = f"search check, {row['records']:,} records and {row['extras']:,} others in the target"
        for share, of in zip(more(row), ("time", "CPU time, both ends")):
            goal(f"{what}: more, of verification's {of}", share, "<= 0.33", share <= 1 / 3)
        grown = row["report"]["peakMiB"] - row["off"]["peakMiB"]
        goal(f"{what}: MiB more", grown, "<= 8", grown <= 8)
    return table(["goal", "measured", "wanted", "met"], rows)


def of_copies(results, goal):
    for count in results["records"]:
        for direction in ("local to remote", "remote to local"):
            rows = [row for row in results.get("copies", []) if (row["records"], row["direction"]) == (count, direction)]
            here = {row["what"]: row for row in rows}
            if "plain Python loop" not in here:
                continue
            loop = here.pop("plain Python loop")["seconds"]
            for what, row in here.items():
                times = loop / row["seconds"]
                goal(f"{direction}, {count:,} records, {what}: times the plain loop, verified", times, ">= 1.1", times >= 1.1)
    filled = {(row["direction"], row["records"], row["what"]): row["seconds"] for row in results.get("fill", {"rows": []})["rows"]}
    for (direction, count, what), seconds in filled.items():
        if what == "--fill files":
            for other, of in (("plain Python loop", "the plain loop"), ("--fill engine", "--fill engine")):
                times = filled[direction, count, other] / seconds
                goal(f"{direction}, {count:,} records, {what}: times {of}, verified", times, ">= 3", times >= 3)
    for row in results.get("fill", {"rows": []})["rows"]:
        if row["what"] == "--fill files":
            peak = row["peakMiB"]
            goal(f"{row['direction']}, {row['records']:,} records, --fill files: peak MiB", peak, "<= 64", peak <= 64)


def markdown(results):
    """All parts of which there are figures."""
    here = results["machine"]
    run = f" One run of {results['minutes']:.0f} minutes." if "minutes" in results else ""
    parts = [
        f"{here['cpu']}, {here['cores']} cores, {here['memoryGiB']} GiB, Linux {here['kernel']}; load {here['loadBefore']} before.{run}",
        "### Goals",
        goals(results),
    ]
    if results.get("copies"):
        parts += [
            "### Copies, end to end",
            "Ours is verified record by record; the plain loop compares nothing. To local its engine is part of the loop's own process.",
            copies(results),
        ]
    if "ceiling" in results:
        ceiling = results["ceiling"]
        parts += [
            f"### The engine's ceiling, {ceiling['records']:,} records in turns",
            "Records a second by batch size and connections, and then the best cell and ours in turns:",
            cells(ceiling),
            turns(ceiling),
        ]
    if "bounded" in results:
        parts += ["### Beside another reader", bounded(results)]
    if "reading" in results:
        parts += [f"### Reading {results['reading']['records']:,} records, all fields", reading(results)]
    if "fill" in results:
        part = results["fill"]
        parts += [
            "### Into a new local store",
            f"All but the plain loop is verified record by record, with the search check. The loop's peak has the engine in it. Measured on "
            f"{part['date']}, load {part['loadBefore']:.1f} before.",
            fill(results),
            steps(results),
        ]
    if "growth" in results:
        parts += [
            "### Growth",
            "From local files; the target is a mock that keeps nothing (or, verifying, the same store again).",
            growth(results),
        ]
    if "search" in results:
        part = results["search"]
        parts += [
            "### The search check",
            f"`verify` of local files against a server, with the search check and without, in turns: the median, and the interval. The "
            f"time depends on what else the machine does; the CPU time hardly does. Measured on {part['date']}, load {part['loadBefore']} before.",
            search(results),
        ]
    return "\n\n".join(part for part in parts if part)


def put(file, text):
    """Replaces what is between the markers."""
    old = file.read_text(encoding="utf-8")
    before, rest = old.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    file.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
