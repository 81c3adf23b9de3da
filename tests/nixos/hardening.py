"""What the running units may and may not touch."""

ROLES = ("head", "hydramesh", "gateway", "shim", "worker", "programs")

machine.start()
for role in ROLES:
    machine.wait_for_unit(f"daiic-{role}.service")

pids = {role: machine.get_unit_property(f"daiic-{role}.service", "MainPID") for role in ROLES}


def inside(role: str, command: str) -> str:
    """Return the command as run in the role's view of the file system."""
    return f"nsenter --target {pids[role]} --mount -- {command}"


def status_of(role: str) -> dict[str, list[str]]:
    """Return /proc/PID/status of the role's process."""
    lines = machine.succeed(f"cat /proc/{pids[role]}/status").splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


with subtest("the kernel takes others before a worker when memory runs out"):
    assert machine.succeed(f"cat /proc/{pids['worker']}/oom_score_adj").strip() == "-500"
    assert machine.succeed(f"cat /proc/{pids['head']}/oom_score_adj").strip() == "0"

with subtest("every role is a user of its own, without capabilities, behind a system call filter"):
    statuses = {role: status_of(role) for role in ROLES}
    assert len({status["Uid"][0] for status in statuses.values()} - {"0"}) == len(ROLES)
    for status in statuses.values():
        assert int(status["CapEff"][0], 16) == int(status["CapBnd"][0], 16) == 0
        assert status["NoNewPrivs"] == ["1"]
        assert status["Seccomp"] == ["2"]

with subtest("the system cannot be written, and homes cannot be seen"):
    machine.succeed("touch /root/private /tmp/of-others")
    for role in ROLES:
        for folder in ("/etc", "/var/lib", "/root"):
            machine.fail(inside(role, f"touch {folder}/daiic-was-here"))
        machine.fail(inside(role, "test -e /root/private"))
        machine.fail(inside(role, "test -e /tmp/of-others"))
    machine.succeed(inside("worker", "touch /var/lib/daiic-worker/a /var/cache/daiic-worker/a"))
    machine.succeed(inside("hydramesh", "touch /var/lib/daiic-hydramesh/a"))
    machine.succeed(inside("programs", "test -s /var/lib/daiic-programs/programs.sqlite"))

with subtest("what a head keeps, and its REPL, are root's alone"):
    other = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    repl = "hydramesh repl --socket /run/daiic-hydramesh/repl"
    machine.succeed("ls /var/lib/daiic-hydramesh/", f"echo '(status)' | {repl} | grep worker")
    machine.fail(f"{other} ls /var/lib/daiic-hydramesh/", f"echo '(workers)' | {other} {repl}")

with subtest("no disk, no kernel log, no memory of the machine"):
    disks = machine.succeed("lsblk --nodeps --noheadings --paths --output TYPE,NAME | grep ^disk")
    devices = (disks.split()[1], "/dev/kmsg", "/dev/mem")
    for device in devices:
        machine.succeed(f"test -e {device}")
        for role in ROLES:
            machine.fail(inside(role, f"test -e {device}"))

with subtest("a role does not see other users' processes"):
    for role in ROLES:
        machine.succeed(f"grep -E '^proc /proc .*hidepid=(invisible|2)' /proc/{pids[role]}/mounts")

with subtest("the exposure that systemd computes stays low"):
    for role in ROLES:
        machine.succeed(f"systemd-analyze security --no-pager --threshold=20 daiic-{role}.service")
