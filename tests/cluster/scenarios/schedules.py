"""Schedules on a real cluster: each due minute is one migration or missed, also when the controller is killed."""

import datetime
import re
import time

from kit import OPERATOR, SYSTEM, api, equal, kubectl, local, until

GROUP = "/apis/memory-migration.dev/v1alpha1"


def _schedule(s, name):
    return api().get(f"{GROUP}/namespaces/{s.namespace}/memorymigrationschedules/{name}")


def _children(s, name):
    all = api().get(f"{GROUP}/namespaces/{s.namespace}/memorymigrations")["items"]
    return [m for m in all if any(o["name"] == name for o in m["metadata"].get("ownerReferences", []))]


def _kill_controllers():
    pods = api().get(f"/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io%2Fname%3D{OPERATOR}")["items"]
    for pod in pods:
        kubectl("-n", SYSTEM, "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")


def every_minute_for_a_quarter_of_an_hour(s):
    """Every minute a copy, for a quarter of an hour in which the controller is killed twice: none is made twice, none is lost."""
    s.apply(
        {
            "apiVersion": "memory-migration.dev/v1alpha1",
            "kind": "MemoryMigrationSchedule",
            "metadata": {"name": "minutely"},
            "spec": {
                "schedule": "* * * * *",
                "successfulHistoryLimit": 30,
                "failedHistoryLimit": 30,
                "template": {
                    "spec": {
                        "source": local("dev"),
                        "target": s.prod.endpoint(),
                        "onConflict": "Overwrite",
                        "pacing": {"batchSize": 1000, "delay": "0s"},
                    }
                },
            },
        }
    )
    created = _schedule(s, "minutely")["metadata"]["creationTimestamp"]
    # What is measured is what becomes of fifteen minutes: the one wait is for time itself.
    for _ in range(2):
        time.sleep(270)
        _kill_controllers()
    time.sleep(360)
    kubectl("-n", s.namespace, "patch", "memsched", "minutely", "--type=merge", "--patch={\"spec\":{\"suspend\":true}}")

    def settled():
        status = _schedule(s, "minutely")["status"]
        reason = next((c["reason"] for c in status["conditions"] if c["type"] == "Ready"), "")
        return (reason == "Suspended" and not status.get("active"), status.get("active"))

    until("the last migration to end", settled)
    status = _schedule(s, "minutely")["status"]
    children = _children(s, "minutely")
    names = [m["metadata"]["name"] for m in children]
    equal("each name holds its due time", [n for n in names if not re.fullmatch(r"minutely-\d{8}t\d{4}", n)], [])
    reasons = {m["metadata"]["name"]: m["status"]["conditions"][0]["reason"] for m in children}
    equal("each ended verified", {n: r for n, r in reasons.items() if r != "Verified"}, {})

    def minute(text):
        return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()) // 60

    due = minute(status["accountedUntil"]) - minute(created)
    # Minutes that passed after the suspension are neither.
    newest = max(minute(status["lastScheduleTime"]), minute(status.get("lastMissedTime", created)))
    equal("every minute is a migration or missed", len(names) + status["missed"], newest - minute(created))
    s.say(f"{len(names)} migrations and {status['missed']} missed of {due} minutes")
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    equal("its last run", conditions["LastRunSucceeded"], "True")
    equal("lastSuccess names an object", status["lastSuccess"]["name"] in names, True)
    kubectl("-n", s.namespace, "delete", "memsched", "minutely")
    until("its migrations to go", lambda: (not _children(s, "minutely"), names))


for _marker in ("alone", "own_cluster", "long"):
    setattr(every_minute_for_a_quarter_of_an_hour, _marker, True)
