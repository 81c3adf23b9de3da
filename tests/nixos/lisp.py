"""A cluster with HydraMesh as its head: it answers, remembers, and survives what befalls it."""

import re

UNIT = "daiic-hydramesh.service"
REPL = "hydramesh repl --repl-socket /run/daiic-hydramesh/repl"
HISTORY = "hydramesh history --state-dir /var/lib/daiic-hydramesh"


def answered() -> float:
    """Return how many texts the head says that it has passed on."""
    page = machine.succeed("curl --fail --silent http://127.0.0.1:7718/metrics")
    (total,) = re.findall(
        r'^daiic_head_tasks_total\{kind="text",outcome="DONE"\} (\S+)$', page, re.MULTILINE
    )
    return float(total)


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

with subtest("the running head can be looked into, and what it keeps be read, by root alone"):
    assert "worker" in machine.succeed(f"echo '(workers)' | {REPL}")
    other = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    machine.fail(f"echo '(workers)' | {other} {REPL}", f"{other} ls /var/lib/daiic-hydramesh/")

with subtest("it is confined as the other roles are"):
    pid = machine.get_unit_property(UNIT, "MainPID")
    status = machine.succeed(f"cat /proc/{pid}/status")
    for line in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"):
        assert line in status, status
    assert "Uid:\t0\t" not in status
    machine.fail(f"nsenter --target {pid} --mount -- touch /etc/daiic-was-here")

with subtest("killed, it comes back and remembers"):
    before = answered()
    assert before >= 1
    # What is measured is written within seconds.
    machine.wait_until_succeeds(f"{HISTORY} | grep -E '[1-9]'", timeout=90)
    pid = machine.get_unit_property(UNIT, "MainPID")
    machine.succeed(f"kill -9 {pid}")
    machine.wait_until_succeeds(
        f"test $(systemctl show --value --property=NRestarts {UNIT}) -ge 1", timeout=60
    )
    machine.wait_for_unit(UNIT)
    assert machine.get_unit_property(UNIT, "MainPID") != pid
    assert answered() >= before
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
