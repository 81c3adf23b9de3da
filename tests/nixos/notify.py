"""The daemons tell systemd how they are, and systemd acts on it."""

import json

machine.start()
machine.wait_for_unit("daiic-worker.service")

with subtest("a worker is ready once its models are loaded and the head knows it"):
    machine.succeed("curl --fail --silent http://127.0.0.1:7728/readyz")
    (worker,) = json.loads(machine.succeed("daiic status --json"))["workers"]
    states = {model["name"]: model["state"] for model in worker["heartbeat"]["models"]}
    assert states["daiic-tiny-chat"] == "LOADED", states

with subtest("status says in words what the daemon does"):
    for unit in ("daiic-head.service", "daiic-worker.service"):
        assert machine.get_unit_property(unit, "StatusText") != ""

with subtest("a process that no longer works is replaced"):
    before = machine.get_unit_property("daiic-head.service", "MainPID")
    machine.succeed(f"kill -STOP {before}")
    machine.wait_until_succeeds(
        "test $(systemctl show --value --property=NRestarts daiic-head.service) -ge 1", timeout=180
    )
    machine.wait_for_unit("daiic-head.service")
    assert machine.get_unit_property("daiic-head.service", "MainPID") != before
    machine.succeed("journalctl --unit daiic-head.service --grep 'Watchdog timeout'")

with subtest("the worker finds the new head by itself"):
    machine.wait_until_succeeds("daiic status --json | grep daiic-tiny-chat", timeout=60)

with subtest("a stop is clean"):
    machine.succeed("systemctl stop daiic-worker.service daiic-head.service")
    for unit in ("daiic-head.service", "daiic-worker.service"):
        assert machine.get_unit_property(unit, "Result") == "success"
        assert machine.get_unit_property(unit, "ActiveState") == "inactive"
    machine.shutdown()
