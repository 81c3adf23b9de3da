"""`hydramesh repl`: a session with a running head, which no session harms."""

import asyncio
import os
import pty
import re
import socket
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.dcf_node import HEALTHY, DcfNode, live
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.head_process import HeadProcess


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the head's socket is."""
    tmp_path.chmod(0o700)
    return tmp_path / "repl"


@pytest.fixture
async def head(hydramesh: heads.Head, path: Path) -> AsyncIterator[HeadProcess]:
    async with HeadProcess(kind=hydramesh, repl_socket=path, storage="none") as head:
        yield head


def command(hydramesh: heads.Head, *arguments: object) -> list[str]:
    return [*hydramesh.command, "repl", *map(str, arguments)]


async def said(hydramesh: heads.Head, path: Path, forms: str, status: int = 0) -> str:
    """Evaluate `forms` in a session of their own; return what it printed."""

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command(hydramesh, "--socket", path),
            input=forms,
            capture_output=True,
            text=True,
            timeout=60,
        )

    done = await asyncio.to_thread(run)
    assert (done.returncode, done.stderr) == (status, ""), done
    return done.stdout


async def stub(head: HeadProcess, worker_id: str, **fields: object) -> WorkerStub:
    worker = await WorkerStub.open([head.address], worker_id=worker_id, interval=0.2)
    tags = fields.pop("tags", ())
    assert isinstance(tags, tuple)
    worker.heartbeat.tags.extend(tags)
    worker.say(**fields)
    return worker


def ask(client: ClusterClient, task: pb.Task) -> "asyncio.Task[None]":
    """Have a task run that nobody waits for."""

    async def run() -> None:
        async for _ in client.run(task):
            pass

    return asyncio.create_task(run())


async def until_said(hydramesh: heads.Head, path: Path, form: str, pattern: str) -> str:
    async with asyncio.timeout(30):
        while not re.search(pattern, text := await said(hydramesh, path, form)):
            await asyncio.sleep(0.05)
    return text


async def test_lisp_is_evaluated_form_by_form(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    forms = """(+ 1 2) (values 1 "a
b") (values) 'done (list * 1) (format t "no line's end")
(defun twice (x) (* 2 x)) (twice 21) (quit) 7"""
    assert await said(hydramesh, path, forms) == (
        '3\n1\n"a\nb"\nDONE\n(DONE 1)\nno line\'s end\nNIL\nTWICE\n42\n'
    )


async def test_an_error_is_told_and_the_next_form_goes_on(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    text = await said(hydramesh, path, "(car 1) :next", status=1)
    assert text == ";; TYPE-ERROR: The value 1 is not of type LIST when binding LIST\n:NEXT\n"
    for form in ("(break)", "(no-such-function)", "no:such", ")", "(error 'error)", "#.(car 1)"):
        text = await said(hydramesh, path, f"{form}\n:next", status=1)
        assert re.search(r"^;; .*\n:NEXT\n$", text, re.MULTILINE | re.DOTALL), (form, text)
    assert "does not end" in await said(hydramesh, path, "(list 1", status=1)


async def test_what_is_endless_is_left_and_the_head_serves_on(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    forms = """(in-loop (loop)) (loop (print 1)) (in-loop (loop (print 1)))
(labels ((deep (x) (1+ (deep x)))) (deep 1)) (in-loop (error "wrong")) (in-loop (break "stop"))
(make-array 10000000000) :alive"""
    text = await said(hydramesh, path, forms, status=1)
    for sentence in (
        "took the head's loop more than 1 s",
        "too much to print",
        "CONTROL-STACK-EXHAUSTED",
        "HEAP-EXHAUSTED",
        ": wrong",
        ": stop",
        ":ALIVE",
    ):
        assert sentence in text, text[-2000:]
    assert len(text) < 1 << 20
    async with ClusterClient([head.address]) as client:
        await client.status()
    assert "fault" not in head.log


async def test_what_is_nested_too_deeply_ends_no_head_however_often_it_comes(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    deep = "(labels ((deep (x) (1+ (deep x)))) (deep 1))"
    for _ in range(3):
        for form in ("(" * 1_000_000, "'" * 1_000_000 + "1"):
            assert "nested too deeply" in await said(hydramesh, path, form, status=1)
        for form in (deep, f"(in-loop {deep})"):
            text = await said(hydramesh, path, f"{form}\n{form} :alive", status=1)
            assert text.count("CONTROL-STACK-EXHAUSTED") == 2 and ":ALIVE" in text, text
    async with ClusterClient([head.address]) as client:
        await client.status()
    assert "fault" not in head.log


async def test_to_exit_lisp_is_to_end_the_session_and_not_the_head(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    for form in ("(sb-ext:exit)", "(sb-ext:exit :code 3 :abort t)", "(uiop:quit 4)"):
        assert await said(hydramesh, path, f"1 {form} 2") == "1\n"
    assert ":ALIVE" in await said(hydramesh, path, "(in-loop (sb-ext:exit)) :alive", status=1)
    async with ClusterClient([head.address]) as client:
        await client.status()
    assert await asyncio.to_thread(head.stop) == 0


async def test_a_head_whose_loop_hangs_is_not_healthy(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    hang = """(in-loop (sb-sys:without-interrupts
      (loop with end = (+ (get-internal-real-time) (* 7 internal-time-units-per-second))
            while (< (get-internal-real-time) end))))"""
    hanging = asyncio.create_task(said(hydramesh, path, hang, status=1))
    await asyncio.sleep(1)
    assert await head.get("/healthz") == (503, "the head is busy\n")
    await hanging
    assert await head.get("/healthz") == (200, "ok\n")


async def test_status_workers_and_jobs_are_shown(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    assert "no workers\nno tasks\n" in await said(hydramesh, path, "(workers) (jobs)")
    await stub(head, "one", slots=1, tags=("gpu",))
    async with ClusterClient([head.address]) as client:
        running = ask(client, pb.Task(model="mute", text=pb.TextTask(prompt="x"), client="bob"))
        await until_said(hydramesh, path, "(jobs)", r"\bone\b")
        waiting = ask(client, pb.Task(model="mute", text=pb.TextTask(prompt="x")))
        text = await until_said(hydramesh, path, "(status) (workers) (jobs)", r"\(waiting\)")
        assert "1 worker; 1 task on workers, 1 waiting of 1024" in text
        assert re.search(r"one +one +ready +1 +1 .* gpu +broken, count, echo", text)
        assert re.search(r"\d+ +text +mute +one +\d\.\d s .* bob$", text, re.MULTILINE)
        running.cancel()
        waiting.cancel()
    # A name that others chose reaches no terminal as it is.
    await stub(head, "two", name="\x1b[31mred")
    assert r"\x1b[31mred" in await until_said(hydramesh, path, "(workers)", r"two")


async def test_nodes_of_dcf_and_the_ways_to_them_are_shown(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    assert "no nodes\nno routes\n" in await said(hydramesh, path, "(nodes) (routes 9)")
    with DcfNode(head.host_port, 7) as one, DcfNode(head.host_port, 9) as two:
        reports = {
            one: [(0, HEALTHY, 4), (9, HEALTHY, 5)],
            two: [(0, HEALTHY, 20), (7, HEALTHY, 5)],
        }
        await live(reports, lambda: bool(one.roles and two.roles))
        text = await said(hydramesh, path, "(nodes) (routes 9) (routes 8)")
    assert re.search(r"^ *7  master +7 +7 +2 +4 ms ", text, re.MULTILINE)
    assert re.search(r"^ *9  relay +7 +7 +2 +9 ms ", text, re.MULTILINE)
    assert re.search(r"1\. +healthy +9 ms +7, 9\n2\. +healthy +20 ms +9\n", text)
    assert text.endswith("no routes\n")


async def test_heads_and_what_they_tell_of_workers_are_shown(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    alone = await said(hydramesh, path, "(heads)")
    assert re.search(r"ready +master +0 +0 +0 +this one", alone), alone
    async with HeadProcess(kind=hydramesh, storage="none") as other:
        worker = await WorkerStub.open([head.address, other.address], worker_id="w1")
        pattern = rf"(\w+) +ready .* ago +{re.escape(other.address)}"
        text = await until_said(hydramesh, path, "(heads)", pattern)
        found = re.search(pattern, text)
        assert found and text.count("  master  ") == 1
        form = f'(heads "{found[1]}")'
        async with ClusterClient([other.address]) as client:
            task = pb.Task(model="count", text=pb.TextTask(max_tokens=200))
            running = ask(client, task)
            await until_said(hydramesh, path, form, r"w1 +1 +0")
            assert "1 (1 of other heads)" in await said(hydramesh, path, "(workers)")
            await running
        await worker.close()


async def test_explain_tells_why_a_task_is_where_it_is(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    await stub(head, "busy", slots=1, tags=("gpu",))
    await stub(head, "plain")
    await stub(head, "late", state=pb.STARTING, tags=("gpu",))
    await until_said(hydramesh, path, "(workers)", r"busy[^$]*late[^$]*plain")
    task = pb.Task(model="mute", text=pb.TextTask(prompt="x"), tags=["gpu"])
    async with ClusterClient([head.address]) as client:
        running = ask(client, task)
        await until_said(hydramesh, path, "(jobs)", r"\bbusy\b")
        waiting = ask(client, task)
        jobs = await until_said(hydramesh, path, "(jobs)", r"\(waiting\)")
        (on_worker,) = re.findall(r"^ *(\d+) .* busy ", jobs, re.MULTILINE)
        (queued,) = re.findall(r"^ *(\d+) .*\(waiting\)", jobs, re.MULTILINE)

        text = await said(hydramesh, path, f"(explain {queued})")
        assert "its worker has to have the tags gpu" in text
        assert "it has waited for" in text
        assert re.search(r"- +busy +busy +busy: 1 task on 1 slot; model loaded", text), text
        assert re.search(r"- +plain +plain +lacks the tags gpu", text), text
        assert re.search(r"- +late +late +is starting", text), text

        text = await said(hydramesh, path, f"(explain {on_worker})")
        assert re.search(r"it has been on busy \(busy\) for \d", text), text
        (task_id,) = re.findall(r"id (\d+)", text)
        assert await said(hydramesh, path, f"(explain {task_id})") != ""
        running.cancel()
        waiting.cancel()
    assert "there is no task 99" in await said(hydramesh, path, "(explain 99)")


async def test_at_a_terminal_restarts_are_offered(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    outside, inside = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command(hydramesh, "--socket", path), stdin=inside, stdout=subprocess.PIPE
    )
    lines = ["(+ 40 (restart-case (error 'error) (use-two () 2)))", "0", "(quit)"]
    os.write(outside, "".join(f"{line}\n" for line in lines).encode())
    async with asyncio.timeout(60):
        text = (await process.communicate())[0].decode()
    os.close(outside)
    os.close(inside)
    assert re.search(r"^;; 0: \[USE-TWO\]", text, re.MULTILINE), text
    assert "hydramesh> ;; ERROR" in text
    assert "[1] hydramesh> 42" in text


async def test_only_its_owner_can_open_the_socket_and_it_goes_with_the_head(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await asyncio.to_thread(head.stop) == 0
    assert not path.exists()


async def test_the_socket_of_a_head_that_crashed_is_replaced_and_no_other(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    second = HeadProcess(kind=hydramesh, repl_socket=path, storage="none")
    second.start()
    assert await second.ended() == 2
    assert f"repl_socket {path} cannot be used: another process serves there" in second.log
    await head.kill()
    assert path.exists()
    async with HeadProcess(kind=hydramesh, repl_socket=path, storage="none"):
        assert await said(hydramesh, path, "1") == "1\n"


async def test_a_path_that_others_could_take_over_is_refused(
    hydramesh: heads.Head, path: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    public = tmp_path / "public"
    public.mkdir()
    public.chmod(0o777)
    for named, reason in (
        (public / "repl", "other users can write to"),
        (file, "something is there already, and it is no socket"),
        (tmp_path / "none" / "repl", "No such file or directory"),
        (tmp_path / ("x" * 120), "a socket's name has 107 bytes at most"),
    ):
        head = HeadProcess(kind=hydramesh, repl_socket=named, storage="none")
        head.start()
        assert await head.ended() == 2
        assert re.search(rf"cannot start +reason=.repl_socket .*{re.escape(reason)}", head.log), (
            head.log
        )
    assert file.exists()


async def test_sessions_that_do_nothing_or_leave_disturb_nobody(
    hydramesh: heads.Head, head: HeadProcess, path: Path
) -> None:
    def connected() -> socket.socket:
        session = socket.socket(socket.AF_UNIX)
        session.connect(str(path))
        return session

    idle = [connected() for _ in range(3)]
    for forms in (b"(loop (print 1))\n", b"(sleep 100)\n", b"\xff\xfe\x00(((", b"#1=(#1# . #1#)\n"):
        with connected() as session:
            session.sendall(forms)
            await asyncio.sleep(0.1)
    assert await said(hydramesh, path, "(+ 1 1)") == "2\n"
    idle += [connected() for _ in range(8)]
    assert "there are 8 sessions already" in await said(hydramesh, path, "(+ 1 1)", status=1)
    for session in idle:
        session.close()
    assert "fault" not in head.log
    async with ClusterClient([head.address]) as client:
        await client.status()


def test_the_client_says_what_is_wrong(hydramesh: heads.Head, tmp_path: Path) -> None:
    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DAIIC_")}
        return subprocess.run(
            command(hydramesh, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
        )

    nobody = run("--socket", tmp_path / "none")
    assert nobody.returncode == 1
    assert f"no head can be reached at {tmp_path}/none: No such file" in nobody.stderr
    unnamed = run()
    assert unnamed.returncode == 2
    assert "Give --socket PATH" in unnamed.stderr
    wrong = run("--sockets", "x")
    assert wrong.returncode == 2
    assert "unrecognized arguments: --sockets x" in wrong.stderr
    helped = run("--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "--socket PATH" in helped.stdout


async def test_a_policy_is_shown_and_replaced(
    hydramesh: heads.Head, head: HeadProcess, path: Path, tmp_path: Path
) -> None:
    assert "no policy is in force" in await said(hydramesh, path, "(policy)")
    file = tmp_path / "a.policy"
    file.write_text('(policy "near" (rule "near first" (prefer (= worker.group 0))))')
    shown = await said(hydramesh, path, f'(load-policy "{file}") (policy)')
    assert shown.count('policy "near", 1 rule') == 2 and "near first (prefer)" in shown
    file.write_text('(policy "near" (rule "near first" (prefr (= worker.group 0))))')
    wrong = await said(hydramesh, path, f'(load-policy "{file}") (policy)', status=1)
    assert f"{file}:1:35: " in wrong and "did you mean prefer?" in wrong
    assert 'policy "near", 1 rule' in wrong
