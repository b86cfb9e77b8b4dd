"""Changes the code that decides, one place at a time, and sees whether a unit test fails: code.py --tool FILE --target DIR

cargo-mutants makes the changes, in copies of the checkout below the target folder, and runs the unit tests for each; for the
controller also its scenarios that need no process. Such a copy is a part of the crate: the modules that the files and their
tests need, so that it is compiled in a fraction of the time.
The files of COMPLETE are tried whole, those of SAMPLED as far as they are drawn by the seed. What was caught is kept beside
the copy, and is not tried again until its function changes: so a run goes on where an earlier one was stopped. Writes the table
between the markers of docs/reliability.md. Ends with 1 if a change survives that `survivors.txt` does not explain.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs/reliability.md"
BEGIN, END = "<!-- mutants-code: begin, written by make mutants-code -->", "<!-- mutants-code: end -->"
REASONS = Path(__file__).with_name("survivors.txt")

# The crate's modules in each part, and lines that are left out elsewhere: the layers allow it.
PARTS = {
    "engine": (["chroma", "engine", "exit", "faults", "model", "report", "scratch", "store"], {"src/store.rs": ["pub mod files;", "pub mod http;"]}),
    "controller": (
        ["api", "controller", "exit", "faults", "metrics", "report", "serve"],
        {"tests/scenarios/schedules.rs": ["mod process;", "mod property;"]},
    ),
}
# The scenarios of a part: its decisions by table, and the calls to a mock. Those that start the program are not run, and those
# that take a minute.
SCENARIOS = {
    "engine": [],
    "controller": ["databases", "edges", "ends", "evidence", "fixtures", "job", "mock", "modes", "one_store", "reasons"]
    + ["refusals", "refused", "rights", "schedules", "schedules/generations", "schedules/table", "stale", "table", "troubles", "waits"],
}
SLOW = ["whatever_the_order_a_tenant", "no_wait_writes_more_than_three"]
COMPLETE = [
    "src/engine/compare.rs",
    "src/model/ulp.rs",
    "src/engine/judge.rs",
    "src/model/distance.rs",
    "src/engine/verdict.rs",
    "src/engine/verdict/identity.rs",
    "src/engine/search/judge.rs",
    "src/controller/plan/verdict.rs",
]
SAMPLED = [
    "src/chroma/rules.rs",
    "src/engine/ledger.rs",
    "src/engine/batch.rs",
    "src/engine/pace.rs",
    "src/engine/adaptive.rs",
    "src/engine/search/nearest.rs",
    "src/engine/search/filters.rs",
    "src/engine/search/sum.rs",
    "src/controller/plan/decide.rs",
    "src/controller/plan/status.rs",
    "src/controller/schedule/plan.rs",
    "src/controller/schedule/pruning.rs",
    "src/api/schedule/calendar.rs",
    "src/api/schedule/generation/prune.rs",
]
# Where the tests of a file begin.
TESTS = "#[cfg(test)]\nmod tests {"
# Mutants that are tried in one go of the tool: between two of them a run can be stopped.
BATCH = 8
# Seconds of a build, and of the tests: what takes longer does not end, and is caught.
BUILD, TEST = 900, 180


def built(part):
    """What cargo is told to build of a part."""
    return ["--lib", "--test", "suite"] if SCENARIOS[part] else ["--lib"]


def skipped():
    """What its tests are told."""
    return ["--", *(word for name in SLOW for word in ("--skip", name))]


def part_of(file):
    return "controller" if file.startswith(("src/api/", "src/controller/")) else "engine"


class Mutant:
    def __init__(self, told, nth, text):
        self.file, self.name = told["file"], told["name"]
        self.what = re.sub(r"^[^ ]+:\d+:\d+: ", "", self.name)
        # of the function that it changes, or of the file without its tests
        span = (told.get("function") or {}).get("span")
        lines = text.splitlines()[span["start"]["line"] - 1 : span["end"]["line"]] if span else text.split(TESTS)[0].splitlines()
        self.state = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
        # lines move; the same change twice in one function is told apart by its order
        self.key = f"{self.file}: {self.what}" + (f" ({nth})" if nth > 1 else "")


def run(arguments, **how):
    return subprocess.run(arguments, cwd=how.pop("cwd", ROOT), text=True, **how)


class Campaign:
    def __init__(self, options):
        self.options = options
        self.home = Path(options.target).resolve() / "mutants-code"
        self.log = self.home / "outcomes.jsonl"
        self.until = time.monotonic() + options.minutes * 60

    def env(self, part):
        """Each part has a folder of its own: cargo gives both the same names. No debug information: the code is compiled anew for
        each change."""
        return os.environ | {"CARGO_TARGET_DIR": str(self.home / f"target-{part}"), "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_TERM_COLOR": "never"}

    def tree(self, part):
        """The copy of a part: what git knows, as it is now. Files that are the same keep their time."""
        tree = self.home / part
        modules, left_out = PARTS[part]
        scenarios = [f"tests/scenarios/{name}.rs" for name in SCENARIOS[part]]
        wanted = ["Cargo.*", "src", *scenarios, *(["deploy/operator.yaml"] if scenarios else [])]
        listed = run(["git", "ls-files", "-co", "--exclude-standard", *wanted], capture_output=True, check=True).stdout.split()
        texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in listed if (ROOT / name).is_file()}
        for name in list(texts):
            if name.startswith("src/") and name.split("/")[1].removesuffix(".rs") not in modules:
                del texts[name]
        texts["src/lib.rs"] = "//! A part of the crate.\n\n" + "".join(f"pub mod {module};\n" for module in modules)
        # Cargo.toml names both
        about = "//! Of a part.\n\n"
        texts |= {"src/main.rs": about + "fn main() {}\n", "tests/suite.rs": about + "#[cfg(test)]\nmod scenarios;\n"}
        texts["tests/scenarios.rs"] = "".join(f"mod {name};\n" for name in SCENARIOS[part] if "/" not in name)
        for name, lines in left_out.items():
            texts[name] = "".join(line for line in texts[name].splitlines(keepends=True) if line.strip() not in lines)
        for old in [path for path in tree.rglob("*") if path.is_file()]:
            if str(old.relative_to(tree)) not in texts:
                old.unlink()
        for name, text in texts.items():
            file = tree / name
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        return tree

    def listed(self):
        seen, mutants = {}, []
        for part in PARTS:
            files = [name for file in (*COMPLETE, *SAMPLED) if part_of(file) == part for name in ("--file", file)]
            told = run([self.options.tool, "mutants", "-d", str(self.tree(part)), "--list", "--json", *files], capture_output=True, check=True)
            for one in json.loads(told.stdout):
                name = (one["file"], re.sub(r"^[^ ]+:\d+:\d+: ", "", one["name"]))
                seen[name] = seen.get(name, 0) + 1
                mutants.append(Mutant(one, seen[name], (ROOT / one["file"]).read_text(encoding="utf-8")))
        return mutants

    def lot(self, mutant):
        return hashlib.sha256(f"{self.options.seed} {mutant.key}".encode()).digest()

    def drawn(self, mutants):
        drawn = []
        for file in (*COMPLETE, *SAMPLED):
            of_file = sorted((mutant for mutant in mutants if mutant.file == file), key=self.lot)
            drawn += of_file if file in COMPLETE else of_file[: self.options.most]
        return drawn

    def known(self, mutants):
        """The newest outcome of each mutant whose function is still as it was."""
        known, states = {}, {mutant.key: mutant.state for mutant in mutants}
        for line in self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else ():
            one = json.loads(line)
            if states.get(one["key"]) == one["state"]:
                known[one["key"]] = one["outcome"]
        return known

    def baseline(self, part):
        print(f"the tests of the {part} as it is", flush=True)
        started = time.monotonic()
        done = run(["cargo", "test", "--quiet", "--locked", *built(part), *skipped()], cwd=self.tree(part), env=self.env(part), stdout=subprocess.DEVNULL)
        print(f"{time.monotonic() - started:.0f} s", flush=True)
        if done.returncode:
            sys.exit("make mutants-code: the unit tests fail without any change: mend them first")

    def attempt(self, file, mutants):
        names = [part for mutant in mutants for part in ("--re", f"^{re.escape(mutant.name)}$")]
        part = part_of(file)
        out = self.home / f"out-{part}"
        shutil.rmtree(out, ignore_errors=True)
        arguments = [self.options.tool, "mutants", "-d", str(self.tree(part)), "--in-place", "--baseline", "skip", "--no-config"]
        arguments += ["--build-timeout", str(BUILD), "--timeout", str(TEST), "--output", str(out), "--file", file, *names]
        started = time.monotonic()
        arguments += [f"--cargo-arg={argument}" for argument in ("--locked", *built(part))]
        run([*arguments, "--", *skipped()], env=self.env(part), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        outcomes = out / "mutants.out/outcomes.json"
        told = json.loads(outcomes.read_text(encoding="utf-8"))["outcomes"] if outcomes.exists() else []
        by_name = {one["scenario"]["Mutant"]["name"]: one["summary"] for one in told if one["scenario"] != "Baseline"}
        words = {"CaughtMutant": "caught", "Timeout": "caught", "MissedMutant": "survived", "Unviable": "unviable"}
        with self.log.open("a", encoding="utf-8") as log:
            for mutant in mutants:
                outcome = words.get(by_name.get(mutant.name), "failed")
                line = {"key": mutant.key, "file": file, "state": mutant.state, "outcome": outcome}
                if outcome != "failed":
                    log.write(json.dumps(line) + "\n")
                if outcome not in ("caught", "unviable"):
                    print(f"{outcome}: {mutant.name}", flush=True)
        seconds = (time.monotonic() - started) / len(mutants)
        print(f"{time.strftime('%H:%M:%S')} {file}: {len(mutants)} tried, {seconds:.0f} s each", flush=True)

    def work(self, drawn):
        known = self.known(drawn)
        left = [mutant for mutant in drawn if known.get(mutant.key) not in ("caught", "unviable")]
        if self.options.only:
            left = [mutant for mutant in left if self.options.only in mutant.file]
        # those that were never tried come first
        left.sort(key=lambda mutant: mutant.key in known)
        print(f"SEED={self.options.seed}: {len(drawn)} drawn, {len(left)} to try", flush=True)
        parts = [] if self.options.table else PARTS
        # the tests of one part wait often enough for the other to be compiled
        with ThreadPoolExecutor() as threads:
            done = [threads.submit(self.part, part, [mutant for mutant in left if part_of(mutant.file) == part]) for part in parts]
            for one in done:
                one.result()

    def part(self, part, left):
        if left:
            self.baseline(part)
        while left and time.monotonic() < self.until:
            file = left[0].file
            batch = [mutant for mutant in left if mutant.file == file][:BATCH]
            left = [mutant for mutant in left if mutant not in batch]
            self.attempt(file, batch)

    def reasons(self):
        text = REASONS.read_text(encoding="utf-8") if REASONS.exists() else ""
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return dict(line.split(" | ", 1) for line in lines)

    def page(self, mutants, drawn):
        """The table, and what survives without a reason."""
        known, reasons = self.known(mutants), self.reasons()
        rows, named, open_ones = [], [], []
        for file in (*COMPLETE, *SAMPLED):
            of_file = [mutant for mutant in drawn if mutant.file == file]
            outcomes = {mutant.key: known[mutant.key] for mutant in of_file if mutant.key in known}
            count = lambda outcome: sum(one == outcome for one in outcomes.values())
            survived = [key for key, outcome in outcomes.items() if outcome == "survived"]
            named += [f"- `{key}`: {reasons[key]}" for key in survived if key in reasons]
            open_ones += [f"- `{key}`: **not explained**" for key in survived if key not in reasons]
            tried, all_of = count("caught") + len(survived), sum(mutant.file == file for mutant in mutants)
            rate = f"{100 * count('caught') / tried:.0f} %" if tried else ""
            cells = [file, all_of, len(outcomes), count("unviable"), count("caught"), len(survived), rate]
            rows.append("| " + " | ".join(map(str, cells)) + " |")
        head = "| file | changes | tried | do not compile | caught | survived | caught, of those that compile |"
        lines = [f"`make mutants-code SEED={self.options.seed}`:", "", head, "|---|" + "---:|" * 6, *rows]
        if named or open_ones:
            lines += ["", "What survived, and why no test can or need tell:", "", *sorted(named), *sorted(open_ones)]
        return "\n".join(lines), open_ones


def write(text):
    old = PAGE.read_text(encoding="utf-8")
    before, rest = old.split(BEGIN, 1)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True, help="cargo-mutants")
    parser.add_argument("--target", required=True, help="where cargo builds")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="draws the samples and the order")
    parser.add_argument("--minutes", type=float, default=30, help="no further batch is begun after so many")
    parser.add_argument("--most", type=int, default=20, help="changes of each file that is sampled")
    parser.add_argument("--only", help="files whose path holds this")
    parser.add_argument("--table", action="store_true", help="write the table from what is known; try nothing")
    campaign = Campaign(parser.parse_args())
    mutants = campaign.listed()
    drawn = campaign.drawn(mutants)
    campaign.work(drawn)
    text, open_ones = campaign.page(mutants, drawn)
    write(text)
    print(text)
    known = campaign.known(mutants)
    left = sum(mutant.key not in known for mutant in drawn)
    if left:
        print(f"{left} were not tried yet: run make mutants-code SEED={campaign.options.seed} again")
    sys.exit(1 if open_ones else 0)


if __name__ == "__main__":
    main()
