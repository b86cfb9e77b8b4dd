"""Runs one command and says how long it took, by stages, and how much memory it had at most. Judges nothing."""

import json
import os
import re
import statistics
import subprocess
import tempfile
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
STAGE = re.compile(r"(preflight|copying|indexing|verifying|repairing): (\d+) of (\d+) records")


class Run:
    """What one run of a command has shown."""

    def __init__(self, seconds, peak, stages, records, report, ended):
        self.seconds = seconds
        self.peak_mib, self.peak_of_children = peak.mib, peak.of_children
        self.cpu, self.cpu_of_children = peak.cpu
        self.stages = stages
        self.records = records
        self.report = report
        self.ended = ended

    def copying(self):
        """Seconds from the first write to the last."""
        return self.stages["verifying"] - self.stages["copying"]

    def verifying(self):
        return self.seconds - self.stages["verifying"]

    def steps(self):
        """Seconds of each stage, up to the next one."""
        begun = sorted(self.stages.items(), key=lambda one: one[1])
        ends = [start for _, start in begun[1:]] + [self.seconds]
        return {stage: end - start for (stage, start), end in zip(begun, ends)}


def run(arguments, stop_after=None, must_verify=True):
    """Runs our command; `stop_after` seconds of copying it gets SIGTERM, and how far it came is what counts."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        report_file = os.path.join(scratch, "report.json")
        has_report = arguments[1] in ("migrate", "verify")
        arguments = [*arguments, "--report", report_file] if has_report else arguments
        started = time.monotonic()
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        stages, done, log = {}, {}, []
        with Peak(process.pid) as peak:
            for line in process.stderr:
                now = time.monotonic() - started
                log.append(line)
                found = STAGE.search(line)
                if found:
                    stage = found[1]
                    if stage not in stages and stage == "copying" and stop_after:
                        threading.Timer(stop_after, process.terminate).start()
                    stages.setdefault(stage, now)
                    done[stage] = (int(found[2]), now)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        # what a look saw of children was before the last of them had ended
        peak.cpu = (peak.cpu[0], max(0.0, usage.ru_utime + usage.ru_stime - peak.cpu[0]))
        report = {}
        if os.path.exists(report_file):
            with open(report_file, encoding="utf-8") as file:
                report = json.load(file)
    if must_verify and not stop_after and process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, arguments))} ended with {process.returncode}: {report.get('message')}\n{''.join(log[-20:])}")
    return Run(seconds, peak, stages, done, report, "".join(log))


def peak_of(python, script, *arguments):
    """Seconds that a Python script prints, its peak memory, and its CPU seconds."""
    process = subprocess.Popen([python, script, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    with Peak(process.pid) as peak:
        told, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{script} {arguments} failed")
    return float(told), peak.mib, peak.cpu[0]


def cpu_seconds(pid):
    """CPU seconds of a process, and of its children that have ended."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    own, children = (int(fields[11]) + int(fields[12])), (int(fields[13]) + int(fields[14]))
    return own / TICKS, children / TICKS


def largest(pid):
    """MiB of a process's largest resident set until now."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["VmHWM"].split()[0]) / 1024 if "VmHWM" in fields else 0.0


def descendants(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="utf-8") as children:
            for child in children.read().split():
                yield child
                yield from descendants(child)


class Peak:
    """The largest resident set of a process, that of any process that it starts, and its CPU seconds, asked until it ends. What a
    fork brings along does not count."""

    def __init__(self, pid):
        self.pid, self.mib, self.of_children, self.cpu, self.over = pid, 0.0, 0.0, (0.0, 0.0), threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def _watch(self):
        # the first look waits for the exec: before it, the process is still a fork of this one
        while not self.over.wait(0.02):
            try:
                self.mib = largest(self.pid) or self.mib
                self.cpu = cpu_seconds(self.pid)
            except OSError:
                return
            try:
                self.of_children = max([self.of_children, *map(largest, descendants(self.pid))])
            except OSError:
                # one of them has ended meanwhile
                continue


def spread(values):
    """Median with the smallest and the largest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "runs": len(values)}


def machine():
    """What this ran on."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = int(next(file).split()[1]) / 1024 / 1024
    system = os.uname()
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return {"cpu": model, "cores": cores, "memoryGiB": round(memory, 1), "kernel": ".".join(system.release.split(".")[:2]), "loadBefore": round(load, 2)}
