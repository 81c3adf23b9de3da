"""`hydramesh run`: programs are read whole or not at all, ask the cluster, keep what they know."""

import os
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.processes import built, heads
from support.processes.daemon import PATIENCE
from support.processes.notify_socket import NotifySocket
from support.processes.program_process import CHAT, ProgramProcess, tiny_chat

SERVICE = """
(defstruct thing)
(defmethod hydramesh/domain/service:service-name ((thing thing)) "thing")
(defmethod hydramesh/domain/service:start-service ((thing thing) node)
  (begin node)
  thing)
(hydramesh/domain/definitions:add-definition :game "thing" (make-thing))
"""
"""A program that calls BEGIN, which a test writes, and nothing else."""

ASKING = """
(defvar *pieces* '())
(defun begin (node)
  (hydramesh/domain/calling:call-after node 0 #'asking)
  (hydramesh/domain/calling:call-every node (seconds 1/20)
    (lambda (tick late) (declare (ignore late)) (log-info "tick" :number tick))))
(defun asking ()
  (ask "MODEL" "Hello!" :max-tokens 12 :temperature 0
       :part (lambda (text) (push text *pieces*))
       :then (lambda (text)
               (log-info "answered" :text text
                         :same (if (string= text (format nil "~{~A~}" (reverse *pieces*)))
                                   "yes" "no")
                         :pieces (length *pieces*)))
       :else (lambda (error) (log-warning "not answered" :code (task-error-name error)))))
""".replace("MODEL", CHAT)

KEEPING = """
(defun begin (node)
  (let* ((before (hydramesh/domain/keeping:kept node #x10 1))
         (count (if before (aref before 0) 0)))
    (log-info "kept" :count count)
    (hydramesh/domain/keeping:keep node #x10 1 (vector (1+ count)))))
"""


def run(hydramesh: heads.Head, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*hydramesh.command, "run", *arguments],
        env={**hydramesh.environment, "PATH": "/usr/bin:/bin", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(list 1)\n", "it defines nothing to run; write a defgame"),
        ("\n(defun f ()\n  (g 1))\n" + SERVICE, "p.lisp:2: function g is not defined"),
        (
            "\n(defsenzor air (:range 0 1))\n",
            "p.lisp:2: defsenzor is not defined; did you mean defsensor?",
        ),
        ("\ufeff(nosuch:thing)\n", "p.lisp:1: Package NOSUCH does not exist"),
        ("(list 1)\n\n(defun f (\n", "p.lisp:3: a form begins here and does not end"),
        ("(list 1)\n(nosuch:thing)\n", "p.lisp:2: Package NOSUCH does not exist"),
        ("(let ((x 1) y z 3) x)\n", "p.lisp:1: 3 is not a symbol"),
        ('\n\n(error "no ~A" "tea")\n', "p.lisp:3: no tea"),
        ("(defun f () undefined-thing)\n" + SERVICE, "variable undefined-thing is not defined"),
        (")\n", "p.lisp:1: unmatched close parenthesis"),
    ],
)
def test_a_program_with_a_mistake_is_refused_with_its_line(
    hydramesh: heads.Head, tmp_path: Path, text: str, said: str
) -> None:
    program = tmp_path / "p.lisp"
    program.write_text(text)
    done = run(hydramesh, program)
    assert done.returncode == 2 and said in done.stderr, done
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_form_that_calls_itself_for_ever_is_told_with_its_line(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    program = tmp_path / "p.lisp"
    program.write_text("(defun f (n) (1+ (f n)))\n(f 1)\n")
    refused = run(hydramesh, program)
    assert refused.returncode == 2
    assert "p.lisp:2: Control stack exhausted" in refused.stderr


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            "(defun f () 1)",
            "(defun f () 2)",
            "b.lisp: it defines the function f, as a file before it does",
        ),
        (
            "(defsensor air (:range 0 1) (:period 1))",
            "(defsensor air (:range 0 2) (:period 1))",
            "b.lisp: it defines the sensor air, as a file before it does",
        ),
    ],
)
def test_files_that_share_a_name_are_refused(
    first: str, second: str, said: str, hydramesh: heads.Head, tmp_path: Path
) -> None:
    files = [tmp_path / "a.lisp", tmp_path / "b.lisp"]
    for file, text, sensor in zip(files, (first, second), ("one", "two"), strict=True):
        file.write_text(text + f"(defsensor {sensor} (:range 0 1) (:period 1))\n")
    refused = run(hydramesh, *files, "--storage", "none")
    assert refused.returncode == 2
    assert said in refused.stderr


def test_what_cannot_be_run_is_told(hydramesh: heads.Head, tmp_path: Path) -> None:
    assert "name the file of a program" in run(hydramesh).stderr
    missing = run(hydramesh, tmp_path / "none.lisp")
    assert missing.returncode == 2 and "No such file or directory" in missing.stderr
    (tmp_path / "latin.lisp").write_bytes(b"; \xff\n")
    assert "it is not UTF-8" in run(hydramesh, tmp_path / "latin.lisp").stderr
    assert "unrecognized arguments: --nosuch" in run(hydramesh, "p.lisp", "--nosuch").stderr
    program = tmp_path / "p.lisp"
    program.write_text("(defun begin (node) node)" + SERVICE)
    remote = run(hydramesh, program, "--heads=192.0.2.1:7717", "--storage=none")
    assert remote.returncode == 1 and "without a cluster key" in remote.stderr
    open_to_all = run(hydramesh, program, "--domain-listen=0.0.0.0:0", "--storage=none")
    assert open_to_all.returncode == 1 and "without a cluster key" in open_to_all.stderr


@pytest.mark.parametrize("name", ["game", "audio", "iot"])
def test_each_language_is_loaded_without_the_others_and_without_a_head(
    hydramesh: heads.Head, name: str
) -> None:
    loaded = subprocess.run(
        [
            built.HYDRAMESH / "build.sh",
            "lisp",
            "--eval",
            f'(asdf:load-system "hydramesh/{name}")',
            "--eval",
            '(format t "~&LOADED ~{~A~^ ~}~%" (mapcar #\'package-name (list-all-packages)))',
            "--quit",
        ],
        env={**os.environ, **hydramesh.environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    packages = set(loaded.rpartition("LOADED ")[2].split())
    others = {f"HYDRAMESH/{other}" for other in ("GAME", "AUDIO", "IOT", "HEAD/CORE", "DAEMON")}
    assert packages & others == {f"HYDRAMESH/{name.upper()}"}


async def test_a_program_asks_the_cluster_and_its_time_goes_on(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="the worker's dependencies are not installed")
    program = tmp_path / "asking.lisp"
    program.write_text(ASKING + SERVICE)
    async with tiny_chat(hydramesh, tmp_path) as head:
        async with ClusterClient([head.address]) as client:
            text = pb.TextTask(
                messages=[pb.ChatMessage(role="user", content="Hello!")],
                max_tokens=12,
                temperature=0,
            )
            direct = (await client.answer(pb.Task(model=CHAT, text=text))).text
        async with ProgramProcess(hydramesh, program, heads=head.address) as process:
            line = await process.says(r"answered .*")
            await process.says(r"tick .*number=40\b")
            assert process.stop() == 0
    said = re.search(r"text=(?:'(.*?)'|(\S+))(?: |$)", line)
    assert said and (said[1] or said[2]) == " ".join(direct.split("\n")), (line, direct)
    assert "same=yes" in line
    pieces = re.search(r"pieces=(\d+)", line)
    assert pieces and int(pieces[1]) > 1


async def test_programs_that_keep_nothing_share_a_folder(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    program = tmp_path / "idle.lisp"
    program.write_text("(defun begin (node) node)" + SERVICE)
    state = {"storage": "sqlite", "state_dir": tmp_path / "state", "heads": ""}
    async with (
        ProgramProcess(hydramesh, program, **state) as one,
        ProgramProcess(hydramesh, program, **state) as other,
    ):
        for process in (one, other):
            assert process.stop() == 0
    assert not (tmp_path / "state").exists()


async def test_what_a_program_keeps_is_there_again(hydramesh: heads.Head, tmp_path: Path) -> None:
    program = tmp_path / "keeping.lisp"
    program.write_text(KEEPING + SERVICE)
    state = {"storage": "sqlite", "state_dir": tmp_path / "state", "heads": ""}
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in state.items()]
    for count in range(3):
        async with ProgramProcess(hydramesh, program, **state) as process:
            await process.says(rf"kept .*count={count}\b")
            second = run(hydramesh, program, *flags)
            assert second.returncode == 1 and "other programs write to it" in second.stderr
            process.signal(signal.SIGTERM)
            assert await process.ended() == 0


async def test_systemd_knows_how_programs_are(
    hydramesh: heads.Head, tmp_path: Path, notify: NotifySocket
) -> None:
    program = tmp_path / "thing.lisp"
    program.write_text("(defun begin (node) node)" + SERVICE)
    told = {"NOTIFY_SOCKET": str(notify.path), "WATCHDOG_USEC": "3000000"}
    kind = replace(hydramesh, environment={**hydramesh.environment, **told})
    async with ProgramProcess(kind, program, heads="") as process:
        await notify.hears("STATUS=running thing")
        await notify.hears("READY=1")
        await notify.hears("WATCHDOG=1")
        process.signal(signal.SIGTERM)
        await notify.hears("STOPPING=1")
        assert await process.ended() == 0
