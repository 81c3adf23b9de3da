"""The daemons tell systemd how they are, and systemd acts on it."""

import json
import re

LISP = "daiic-hydramesh.service"
ASK = "daiic generate --head 127.0.0.1:7747 --model daiic-tiny-chat"


def restarts(unit: str) -> int:
    """Return how often systemd has replaced the unit's process; a slow machine may have had to."""
    return int(machine.get_unit_property(unit, "NRestarts"))


def wait_for_restart(unit: str, seen: int, timeout: int) -> None:
    """Wait until the unit's process has been replaced more often than `seen` times."""
    machine.wait_until_succeeds(
        f"test $(systemctl show --value --property=NRestarts {unit}) -gt {seen}", timeout=timeout
    )
    machine.wait_for_unit(unit)


def generate(seed: int) -> str:
    """Return an answer that has come through the head in Lisp."""
    return str(machine.succeed(f"{ASK} --max-tokens 8 --seed {seed} 'A cluster is'")).strip()


def answered() -> float:
    """Return how many texts the head in Lisp has passed on, by its own count."""
    page = machine.succeed("curl --fail --silent http://127.0.0.1:7748/metrics")
    (total,) = re.findall(
        r'^daiic_head_tasks_total\{kind="text",outcome="DONE"\} (\S+)$', page, re.MULTILINE
    )
    return float(total)


machine.start()
machine.wait_for_unit("daiic-worker.service")

with subtest("a worker is ready once its models are loaded and the head knows it"):
    machine.succeed("curl --fail --silent http://127.0.0.1:7728/readyz")
    (worker,) = json.loads(machine.succeed("daiic status --json"))["workers"]
    states = {model["name"]: model["state"] for model in worker["heartbeat"]["models"]}
    assert states["daiic-tiny-chat"] == "LOADED", states

with subtest("status says in words what the daemon does"):
    for unit in ("daiic-head.service", LISP, "daiic-worker.service"):
        assert machine.get_unit_property(unit, "StatusText") != ""

with subtest("a process that no longer works is replaced"):
    seen = restarts("daiic-head.service")
    before = machine.get_unit_property("daiic-head.service", "MainPID")
    machine.succeed(f"kill -STOP {before}")
    wait_for_restart("daiic-head.service", seen, timeout=180)
    assert machine.get_unit_property("daiic-head.service", "MainPID") != before
    machine.succeed("journalctl --unit daiic-head.service --grep 'Watchdog timeout'")

with subtest("the worker finds the new head by itself"):
    machine.wait_until_succeeds("daiic status --json | grep daiic-tiny-chat", timeout=60)

with subtest("a head in Lisp serves the same worker, and says so"):
    answer = generate(1)
    assert answer != ""
    assert "1 worker" in machine.get_unit_property(LISP, "StatusText")
    machine.succeed("curl --fail --silent http://127.0.0.1:7748/readyz")

with subtest("killed, it comes back and remembers"):
    before = answered()
    assert before >= 1
    machine.wait_until_succeeds(
        "hydramesh history --state-dir /var/lib/daiic-hydramesh | grep -E '^done +[1-9]'",
        timeout=90,
    )
    seen = restarts(LISP)
    machine.succeed(f"kill -9 {machine.get_unit_property(LISP, 'MainPID')}")
    wait_for_restart(LISP, seen, timeout=60)
    assert answered() >= before
    machine.wait_until_succeeds("curl --fail --silent http://127.0.0.1:7748/readyz", timeout=60)
    assert generate(1) == answer

with subtest("told to, it reads its settings again and goes on"):
    pid = machine.get_unit_property(LISP, "MainPID")
    machine.succeed(f"systemctl kill --signal=HUP {LISP}")
    assert generate(1) == answer
    assert machine.get_unit_property(LISP, "MainPID") == pid

with subtest("stopped, it lets a running task finish"):
    machine.succeed(
        f"({ASK} --max-tokens 100 Workers > /tmp/last; touch /tmp/ended) &> /dev/null &"
    )
    machine.wait_until_succeeds(
        f"systemctl show --property=StatusText {LISP} | grep '1 task in flight'", timeout=60
    )
    machine.succeed(f"systemctl stop {LISP}")
    machine.wait_for_file("/tmp/ended", timeout=60)
    machine.succeed("test -s /tmp/last")
    # It was never too busy to feed the watchdog.
    assert restarts(LISP) == seen + 1

with subtest("a stop is clean"):
    machine.succeed("systemctl stop daiic-worker.service daiic-head.service")
    for unit in ("daiic-head.service", LISP, "daiic-worker.service"):
        assert machine.get_unit_property(unit, "Result") == "success"
        assert machine.get_unit_property(unit, "ActiveState") == "inactive"
    machine.shutdown()
