"""Runs the scenarios on the cluster that KUBECONFIG names: run.py [--jobs N] [--module NAME] [SCENARIO...]

Each has a namespace of its own, so they run side by side; those that stop what all of them need run alone, at the end.
Prints a line for each, and for one that failed what the cluster holds of it. Exit code 1 if one failed.
"""

import argparse
import concurrent.futures
import importlib
import os
import pathlib
import sys
import time
import traceback

import kit

MODULES = [p.stem for p in sorted((pathlib.Path(__file__).parent / "scenarios").glob("*.py"))]


def found(modules):
    """Name to function, in the order of the files."""
    sys.path.insert(0, str(pathlib.Path(__file__).parent / "scenarios"))
    functions = {}
    for module in map(importlib.import_module, modules):
        own = {n: f for n, f in vars(module).items() if callable(f) and getattr(f, "__module__", "") == module.__name__}
        functions |= {name: function for name, function in own.items() if not name.startswith("_")}
    return functions


def seen(namespace):
    """What a person would look at."""
    asked = [["get", "memmig,jobs,pods,pvc", "-o", "wide"], ["describe", "memmig"], ["get", "events"]]
    pods = kit.kubectl("-n", namespace, "get", "pods", "-o", "name", check=False).split()
    asked += [["logs", pod, "--all-containers", "--tail=20"] for pod in pods]
    return "\n".join(f"$ kubectl {' '.join(a)}\n" + kit.kubectl("-n", namespace, *a, check=False) for a in asked)


def missing(function):
    """What a scenario needs and this cluster has not."""
    if getattr(function, "two_nodes", False) and not kit.has_two_nodes():
        return "it needs a second node: NODES=2, and the cluster of tests"
    if getattr(function, "own_cluster", False) and not kit.OWN_CLUSTER:
        return "it kills processes of a node, which only the cluster of tests allows"
    return None


def ready(name, function):
    """Its namespace; of one that runs alone also its claim `dev`, made while others run."""
    scenario = kit.Scenario(name, getattr(function, "level", "restricted"))
    if getattr(function, "alone", False):
        scenario.claim("dev", 2000)
    return scenario


def run(name, function, made=None):
    """True if it passed, None if this cluster does not allow it."""
    started, scenario = time.monotonic(), None
    if lacks := missing(function):
        print(f"skipped {name}: {lacks}", flush=True)
        return None
    try:
        scenario = made.result() if made else ready(name, function)
        function(scenario)
    except Exception:
        after, trace = time.monotonic() - started, traceback.format_exc()
        details = seen(scenario.namespace) if scenario else ""
        print(f"FAILED  {name} after {after:.0f} s\n{trace}\n{details}", flush=True)
        return False
    kit.kubectl("delete", "namespace", scenario.namespace, "--wait=false", check=False)
    print(f"passed  {name} in {time.monotonic() - started:.0f} s: {(function.__doc__ or '').splitlines()[0]}", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--module", choices=MODULES, help="only those of this file")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    functions = found([args.module] if args.module else MODULES)
    unknown = [name for name in args.names if name not in functions]
    if unknown:
        sys.exit(f"no scenario {', '.join(unknown)}; there are {', '.join(functions)}")
    chosen = {name: functions[name] for name in args.names or functions if args.names or not getattr(functions[name], "long", False)}
    alone = {name: f for name, f in chosen.items() if getattr(f, "alone", False)}
    kit.install_into_its_namespace()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        running = [pool.submit(run, *item) for item in chosen.items() if item[0] not in alone]
        made = {name: pool.submit(ready, name, f) for name, f in alone.items() if not missing(f)}
        try:
            ends = [future.result() for future in running]
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            os._exit(130)  # the threads wait for conditions, for minutes
    ends += [run(name, function, made.get(name)) for name, function in alone.items()]
    print(f"{ends.count(True)} scenarios passed, {ends.count(False)} failed, {ends.count(None)} skipped", flush=True)
    sys.exit(1 if False in ends else 0)


main()
