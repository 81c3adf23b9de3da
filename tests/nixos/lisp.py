"""A cluster with HydraMesh as its head: it answers, remembers, and survives what befalls it."""

UNIT = "daiic-hydramesh.service"
ANSWERED = "daiic_head_tasks_completed_total"


def metric(name: str) -> float:
    """Return the sum of a metric of the head over its labels."""
    page = machine.succeed("curl --fail --silent http://127.0.0.1:7718/metrics")
    lines = [line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def generate(seed: int) -> str:
    """Return an answer of the tiny model."""
    ask = f"daiic generate --model daiic-tiny-chat --max-tokens 8 --seed {seed}"
    return str(machine.succeed(f"{ask} 'A cluster is'")).strip()


machine.start()
machine.wait_for_unit(UNIT)

with subtest("workers find it, and it answers through them"):
    machine.wait_for_unit("daiic-worker.service")
    machine.wait_until_succeeds("daiic status --json | grep daiic-tiny-chat", timeout=120)
    answer = generate(1)
    assert answer != ""

with subtest("systemd is told how it is"):
    assert "1 worker" in machine.get_unit_property(UNIT, "StatusText")
    machine.succeed("curl --fail --silent http://127.0.0.1:7718/readyz")
    assert machine.get_unit_property(UNIT, "NRestarts") == "0"

with subtest("the running head can be looked into, by root alone"):
    assert "worker" in machine.succeed("echo '(workers)' | hydramesh repl")
    other = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    machine.fail(f"echo '(workers)' | {other} hydramesh repl")

with subtest("killed, it comes back and remembers"):
    before = metric(ANSWERED)
    assert before >= 1
    # What is measured is written within seconds.
    machine.wait_until_succeeds("hydramesh history | grep -E '[1-9]'", timeout=90)
    pid = machine.get_unit_property(UNIT, "MainPID")
    machine.succeed(f"kill -9 {pid}")
    machine.wait_until_succeeds(
        f"test $(systemctl show --value --property=NRestarts {UNIT}) -ge 1", timeout=60
    )
    machine.wait_for_unit(UNIT)
    assert machine.get_unit_property(UNIT, "MainPID") != pid
    assert metric(ANSWERED) >= before
    machine.wait_until_succeeds("daiic status --json | grep daiic-tiny-chat", timeout=60)
    assert generate(1) == answer

with subtest("it reads its settings again without losing anything"):
    pid = machine.get_unit_property(UNIT, "MainPID")
    machine.succeed(f"systemctl kill --signal=HUP {UNIT}")
    assert generate(2) != ""
    assert machine.get_unit_property(UNIT, "MainPID") == pid

with subtest("a stop lets the running task finish"):
    machine.succeed(
        "(daiic generate --model daiic-tiny-chat --max-tokens 100 --seed 3 Workers > /tmp/last"
        " && touch /tmp/answered) > /dev/null 2>&1 &"
    )
    machine.wait_until_succeeds(
        f"systemctl show --property=StatusText {UNIT} | grep '1 task in flight'", timeout=60
    )
    machine.succeed(f"systemctl stop {UNIT}")
    machine.wait_for_file("/tmp/answered", timeout=60)
    assert machine.get_unit_property(UNIT, "Result") == "success"
    assert machine.get_unit_property(UNIT, "NRestarts") == "1"
