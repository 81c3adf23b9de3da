"""A cluster of three machines answers, and goes on answering when a worker is lost."""

import json
import time

KEY = "--key-file /var/lib/cluster-key"


def workers() -> dict[str, dict]:
    """Return the heartbeats of the workers that the head knows, by name."""
    status = json.loads(head.succeed(f"daiic status --json {KEY}"))
    return {worker["heartbeat"]["name"]: worker["heartbeat"] for worker in status["workers"]}


def wait_for_workers(*names: str, timeout: int) -> None:
    """Wait until the head knows exactly these workers."""
    deadline = time.monotonic() + timeout
    while (known := set(workers())) != set(names):
        assert time.monotonic() < deadline, f"the head knows {known}, not {names}"
        time.sleep(1)


start_all()

with subtest("the machines share a key and find each other"):
    head.succeed("daiic keygen /var/lib/cluster-key", "systemctl restart daiic-head.service")
    head.wait_for_unit("daiic-head.service")
    key = head.succeed("base64 --wrap=0 /var/lib/cluster-key")
    for machine in (worker1, worker2):
        machine.succeed(
            "install --mode=600 /dev/null /var/lib/cluster-key",
            f"echo {key} | base64 --decode > /var/lib/cluster-key; sync",
            "systemctl restart --no-block daiic-worker.service",
        )
    for machine in (worker1, worker2):
        machine.wait_for_unit("daiic-worker.service")
    wait_for_workers("worker1", "worker2", timeout=60)

with subtest("text and image are answered"):
    text = head.succeed(
        f"daiic generate --model daiic-tiny-chat --max-tokens 16 --seed 1 {KEY} 'A cluster is'"
    )
    assert text.strip() != ""
    head.succeed(f"daiic image --output /tmp/image.png --steps 2 --seed 1 {KEY} 'a red circle'")
    head.succeed("head --bytes 4 /tmp/image.png | grep --quiet PNG")

with subtest("every task is answered although a worker loses power in the middle"):
    tasks = range(8)
    # So hot that hardly an answer ends by itself before the last of the clients has started.
    hot = "--max-tokens 400 --temperature 99 --top-p 1 --top-k 0"
    for task in tasks:
        head.succeed(
            f"(daiic generate --model daiic-tiny-chat {hot} --seed {task} {KEY} Workers"
            f" > /tmp/answer-{task} && touch /tmp/answered-{task}) > /dev/null 2>&1 &"
        )
    # The head's status line tells it.
    head.wait_until_succeeds(
        "systemctl show --property=StatusText daiic-head.service | grep ' [4-8] tasks in flight'",
        timeout=300,
    )
    # They are where the model is in memory already.
    known = workers()
    lost, left = sorted(
        (worker1, worker2), key=lambda worker: -known[worker.name].get("running", 0)
    )
    lost.crash()
    for task in tasks:
        head.wait_for_file(f"/tmp/answered-{task}", timeout=300)
        head.succeed(f"test -s /tmp/answer-{task}")
    # Otherwise the lost worker had none of them.
    head.succeed(
        "curl --fail --silent http://127.0.0.1:7718/metrics | grep '^daiic_head_moved_total [1-9]'"
    )

with subtest("the lost worker is off the registry after ten seconds"):
    wait_for_workers(left.name, timeout=60)

with subtest("a worker that boots again serves again"):
    lost.start()
    lost.wait_for_unit("daiic-worker.service")
    wait_for_workers("worker1", "worker2", timeout=60)

with subtest("a worker whose cable is pulled is pruned, and rejoins when it is plugged in"):
    left.block()
    wait_for_workers(lost.name, timeout=60)
    left.unblock()
    wait_for_workers("worker1", "worker2", timeout=60)
