"""Runs the command as a child process: its lines become log records and progress, its report becomes a dict."""

import json
import logging
import os
import signal
import subprocess
import tempfile
from typing import IO, Any, Callable, Dict, List, Mapping, Optional, cast

from ._errors import MigrationFailed
from ._report import Progress, Report

log = logging.getLogger("memory_migration")

#: Seconds that the program gets to end after SIGTERM: it finishes the write under way, and its Chroma closes its files.
PATIENCE = 120

_LEVELS = {"ERROR": logging.ERROR, "WARN": logging.WARNING, "INFO": logging.INFO}


def run(
    command: List[str],
    configurations: Mapping[str, str],
    environment: Mapping[str, str],
    on_progress: Optional[Callable[[Progress], None]],
) -> Report:
    """Runs `command`, gives each of `configurations` to its flag by way of a file, and returns the report.

    A configuration could hold a secret by mistake, and all processes of a machine see the arguments of each other.
    """
    with tempfile.TemporaryDirectory(prefix="memory-migration-") as folder:
        report_file = os.path.join(folder, "report.json")
        arguments = [*command, "--log-format", "json", "--report", report_file]
        for flag, text in configurations.items():
            file = os.path.join(folder, flag.lstrip("-"))
            with open(file, "x", encoding="utf-8") as config:
                config.write(text)
            arguments += [flag, file]
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            encoding="utf-8",
            errors="replace",
        )
        with child:
            try:
                said = _follow(cast(IO[str], child.stderr), on_progress)
                code = child.wait()
            except BaseException:
                _end(child)
                raise
        report = _read(report_file)
    if code == 0 and report is not None:
        return report
    raise _failure(code, report, said)


def _follow(lines: IO[str], on_progress: Optional[Callable[[Progress], None]]) -> List[str]:
    """Passes on each line as it comes. Returns the last ones that are no log: the reason why nothing ran."""
    said: List[str] = []
    for line in lines:
        parsed = _parse(line)
        if parsed is None:
            said = [*said[-19:], line.rstrip()]
        elif parsed.pop("memmig", None) == "progress":
            if on_progress is not None:
                on_progress(cast(Progress, parsed))
            log.info("%s: %s of %s records", parsed.get("stage"), parsed.get("records"), parsed.get("total"))
        elif "fields" in parsed:
            message = parsed["fields"].get("message", "")
            log.log(_LEVELS.get(parsed.get("level", ""), logging.DEBUG), "%s", message)
    return said


def _parse(line: str) -> Optional[Dict[str, Any]]:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _end(child: "subprocess.Popen[str]") -> None:
    """After Ctrl-C or an error of a caller's function: no run goes on that nobody waits for."""
    if child.poll() is not None:
        return
    child.send_signal(signal.SIGTERM)
    try:
        # its lines are read on: a full pipe would stop it
        child.communicate(timeout=PATIENCE)
    except BaseException:
        child.kill()
        raise


def _read(file: str) -> Optional[Report]:
    """None for a program that ended before it had anything to report."""
    try:
        with open(file, encoding="utf-8") as text:
            return cast(Report, json.load(text))
    except (OSError, ValueError):
        return None


def _failure(code: int, report: Optional[Report], said: List[str]) -> MigrationFailed:
    if report is not None:
        return MigrationFailed(f"{report['reason']}: {report['message']}", code, report)
    if code < 0:
        return MigrationFailed(
            f"memory-migration was killed by signal {-code}; out of memory? Call it again: it resumes", code
        )
    text = "\n".join(said).strip() or "memory-migration gave no reason; please report this"
    return MigrationFailed(text[len("error: ") :] if text.startswith("error: ") else text, code)
