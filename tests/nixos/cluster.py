"""A cluster of three machines answers, and goes on answering when a worker is lost."""

import json

KEY = "--key-file /var/lib/cluster-key"


def workers() -> dict[str, dict]:
    """Return the workers that the head knows, by name."""
    status = json.loads(head.succeed(f"daiic status --json {KEY}"))
    return {worker["name"]: worker for worker in status["workers"]}


def wait_for_workers(*names: str, timeout: int) -> None:
    """Wait until the head knows exactly these workers."""
    listed = "[" + ", ".join(f'"{name}"' for name in sorted(names)) + "]"
    reading = "import json, sys; print(json.dumps(sorted(w['name'] for w in json.load(sys.stdin)['workers'])))"
    head.wait_until_succeeds(
        f"daiic status --json {KEY} | python3 -c \"{reading}\" | grep --fixed-strings '{listed}'",
        timeout=timeout,
    )


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
    head.succeed(f"daiic image --output /tmp/image.png --seed 1 {KEY} 'a red circle'")
    head.succeed("head --bytes 4 /tmp/image.png | grep --quiet PNG")

with subtest("a worker that loses power mid-task is replaced, and the text stays the same"):
    ask = f"daiic generate --model daiic-tiny-chat --max-tokens 200 --seed 7 {KEY} 'A worker'"
    expected = head.succeed(ask)
    head.execute(f"{ask} > /tmp/answer && touch /tmp/answered", check_output=False)
    busy = "import json, sys; print(*(w['name'] for w in json.load(sys.stdin)['workers'] if w['running']))"
    name = head.wait_until_succeeds(
        f"daiic status --json {KEY} | python3 -c \"{busy}\" | grep worker", timeout=60
    ).split()[0]
    lost, left = (worker1, worker2) if name == "worker1" else (worker2, worker1)
    lost.crash()
    head.wait_for_file("/tmp/answered", timeout=300)
    assert head.succeed("cat /tmp/answer") == expected

with subtest("the lost worker is off the registry after ten seconds"):
    wait_for_workers(left.name, timeout=30)

with subtest("a worker that boots again serves again"):
    lost.start()
    lost.wait_for_unit("daiic-worker.service")
    wait_for_workers("worker1", "worker2", timeout=60)

with subtest("a worker whose cable is pulled is pruned, and rejoins when it is plugged in"):
    left.block()
    wait_for_workers(lost.name, timeout=60)
    left.unblock()
    wait_for_workers("worker1", "worker2", timeout=60)
