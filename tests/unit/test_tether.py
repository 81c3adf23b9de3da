"""What is tethered ends with who started it, and becomes what was asked for until then."""

import os
import select
import signal
import subprocess
import sys

from daiic import tether
from daiic.tether import tethered

PARENT = """
import subprocess, sys
from daiic.tether import tethered
child = subprocess.Popen(tethered(sys.executable, "-c", sys.argv[1]))
child.wait()
"""
CHILD = """
import signal
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
print("here", flush=True)
signal.pause()
"""


def test_a_child_that_hears_no_signal_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"here\n"
    parent.kill()
    parent.wait()
    # The pipe has an end when no process holds it any more.
    assert select.select([parent.stdout], [], [], 20)[0]
    assert parent.stdout.read() == b""


def test_a_child_of_a_parent_that_is_gone_already_does_not_start() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    command = [sys.executable, "-I", "-S", tether.__file__, str(gone.pid), "9", "echo", "started"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stdout == ""
    assert f"process {gone.pid} has ended" in done.stderr


def test_the_command_runs_as_the_process_that_was_started() -> None:
    code = "import os, sys; print(os.getpid(), sys.argv[1:]); sys.exit(7)"
    child = subprocess.Popen(
        tethered(sys.executable, "-c", code, "--a b", ""), stdout=subprocess.PIPE, text=True
    )
    said, _ = child.communicate()
    assert said == f"{child.pid} ['--a b', '']\n"
    assert child.returncode == 7


def test_the_signal_may_be_one_that_lets_it_tidy_up() -> None:
    [*_, parent, number, command] = tethered("true", number=signal.SIGTERM)
    assert (int(parent), int(number), command) == (os.getpid(), signal.SIGTERM, "true")


def test_a_command_that_is_not_there_is_named() -> None:
    done = subprocess.run(tethered("/no/such/program"), capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr == "/no/such/program: No such file or directory\n"
