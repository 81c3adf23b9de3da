"""`hydramesh policy explain`: what a policy decides for a task, told without a head."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.head_process import HeadProcess

POLICY = """(policy "a test"
  (rule "no spot" (when (= task.kind :text)) (exclude (has worker.tags :spot)))
  (rule "solar" (prefer (has worker.tags :solar) 4))
  (rule "night" (when (between 22:00 6:00)) (exclude (= worker.name "day")))
  (rule "small is better than nothing" (when (= task.model "big")) (fallback "m" (after 5 s)))
  (rule "late ones twice" (when task.streaming) (hedge (after 2 s))))
"""
TASK = {"model": "m", "text": {"prompt": "hello", "maxTokens": 100}}


def worker(name: str, *tags: str, **fields: object) -> dict[str, object]:
    return {
        "heartbeat": {
            "workerId": name,
            "name": name,
            "state": "READY",
            "slots": 2,
            "tags": tags,
            "models": [{"name": "m", "state": "LOADED", "rate": 20}],
        },
        **fields,
    }


CLUSTER = [worker("fast", "spot"), worker("sunny", "solar"), worker("day", group=0)]


class Explain:
    """The command, on a policy and a cluster in files of FOLDER."""

    def __init__(self, command: tuple[str, ...], folder: Path) -> None:
        self.command, self.folder = command, folder

    def __call__(
        self,
        *arguments: str,
        policy: str = POLICY,
        task: object = TASK,
        workers: object = None,
        given: bytes = b"",
        status: int = 0,
    ) -> str:
        """Return what it prints, which is an error unless STATUS, how it should exit, is 0."""
        (self.folder / "a.policy").write_text(policy, "utf-8")
        words = ["a.policy", *arguments]
        if task is not None:
            words += ["--task", task if isinstance(task, str) else json.dumps(task)]
        if workers is not None:
            (self.folder / "cluster.json").write_text(json.dumps({"workers": workers}), "utf-8")
            words += ["--cluster", "cluster.json"]
        done = subprocess.run(
            [*self.command, "policy", "explain", *words],
            cwd=self.folder,
            input=given,
            capture_output=True,
            timeout=120,
        )
        told, complaint = done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
        assert done.returncode == status, told + complaint
        assert bool(complaint) == bool(status), complaint
        return complaint if status else told


@pytest.fixture
def explain(hydramesh: heads.Head, tmp_path: Path) -> Explain:
    return Explain(tuple(map(str, hydramesh.command)), tmp_path)


def line(text: str, pattern: str) -> str:
    """Return the one line of TEXT that begins like PATTERN."""
    (found,) = [each for each in text.splitlines() if re.match(pattern, each)]
    return found


def test_it_tells_who_gets_the_task_and_which_rule_speaks_for_and_against_whom(
    explain: Explain,
) -> None:
    told = explain("--at", "2026-11-30T12:00", workers=CLUSTER)
    assert told.splitlines()[-1] == "sunny gets it"
    assert "Monday 12:00" in told
    assert line(told, "-> ").split()[1:4] == ["sunny", "sunny", "4.000"]
    assert line(told, r"2\. ").split()[1:4] == ["day", "day", "1.000"]
    assert line(told, "- ").endswith("excluded by the policy: no spot")
    assert line(told, " +2 ").endswith("no spot: excludes fast")
    assert line(told, " +3 ").endswith("solar: × 4.000 for sunny")
    assert line(told, " +4 ").endswith("night: does not match")


def test_the_time_is_the_one_that_is_given(explain: Explain) -> None:
    told = explain("--at", "2026-12-05T23:30", workers=CLUSTER)
    assert "Saturday 23:30" in told
    assert line(told, " +4 ").endswith("night: excludes day")


def test_without_a_cluster_only_the_task_is_explained(explain: Explain) -> None:
    told = explain(task={**TASK, "model": "big", "stream": True})
    assert "no spot: matches: exclude" in told
    assert "small is better than nothing: fallback m after 5.0 s" in told
    assert "late ones twice: hedging after 2.0 s" in told
    assert "gets it" not in told and "WORKER" not in told


def test_a_task_whose_model_nobody_has_is_explained_with_its_fallback(explain: Explain) -> None:
    told = explain(task={**TASK, "model": "big"}, workers=CLUSTER)
    assert told.count("does not have the model") == 3
    assert "a fallback takes its place: m" in told
    assert told.splitlines()[-1] == "sunny gets it"


def test_what_is_told_of_distance_and_failures_counts(explain: Explain) -> None:
    aside = {"reason": "failed 3 times in a row, at last as it stalled", "failures": 3}
    told = explain(
        workers=[
            worker("ill", "solar", setAside={**aside, "retryMs": 9000}),
            worker("far", group=40),
            worker("near", group=0),
        ],
    )
    assert told.splitlines()[-1] == "near gets it"
    assert f"is set aside for 9 s more: {aside['reason']}" in line(told, "- ")
    assert "in group 40" in line(told, r"2\. ")


async def test_the_status_of_a_running_head_is_explained_as_the_head_decides(
    explain: Explain, hydramesh: heads.Head, tmp_path: Path
) -> None:
    file = tmp_path / "running.policy"
    policy = '(policy "p" (rule "only two" (require (= worker.name "two"))))'
    file.write_text(policy)
    async with (
        HeadProcess(kind=hydramesh, policy=file, storage="none") as head,
        ClusterClient([head.address]) as client,
    ):
        for name in ("one", "two", "three"):
            await WorkerStub.open([head.address], worker_id=name, interval=0.2)
        await head.wait_for_workers(3)
        task = pb.Task(model="echo", text=pb.TextTask(prompt="x", max_tokens=2))
        status = MessageToJson(await client.status(), preserving_proto_field_name=True)
        assert (await client.answer(task)).worker_id == "two"
    told = explain("--cluster", "-", policy=policy, task=MessageToJson(task), given=status.encode())
    assert told.splitlines()[-1] == "two gets it"
    assert told.count("excluded by the policy: only two") == 2


def test_mistakes_of_a_policy_are_told_by_line_and_column(explain: Explain) -> None:
    told = explain(policy='(policy "p"\n  (rule "a" (wieght 2)))', status=1)
    assert told.startswith("a.policy:2:13: ") and "did you mean weight?" in told


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ('{"modl": "m"}', 'has no field named "modl"'),
        ('{"model": "m", "text": {"prompt": 7}}', "prompt"),
        ('{"model": "m",', "line 1 column 1"),
        ('{"model": "m"}', "the task has no work"),
        ('{"text": {}}', "the task names no model"),
        ('{"model": "m", "manage": {}}', "which worker"),
        ('{"status": {}}', "answered by the head itself"),
        ("{" * 5000, "cannot be read"),
        ("there-is-none.json", "No such file"),
        ("/dev/zero", "not a regular file"),
        (".", "Is a directory"),
    ],
)
def test_a_task_that_is_none_is_refused_with_what_is_wrong(
    explain: Explain, task: str, said: str
) -> None:
    told = explain(task=task, status=1)
    assert told.startswith("hydramesh policy: explain: ") and said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ([{"heartbeet": {}}], 'has no field named "heartbeet"'),
        ([{}], "worker 1 has no heartbeat"),
        ([worker("a"), worker("a")], "two workers have the worker_id a"),
        ([worker("a", address="1.2.3.4:5"), worker("b", address="1.2.3.4:5")], "two workers have"),
        ([worker("a", address="\x1b[2Jelsewhere")], "no address"),
        ([worker("a", rttMs="NaN")], "rtt_ms"),
        ([worker("a", rttMs=-1)], "rtt_ms"),
        ([worker(f"w{number}") for number in range(1025)], "more workers than a head takes"),
        (7, "cannot be read"),
    ],
)
def test_a_status_that_cannot_be_is_refused_with_what_is_wrong(
    explain: Explain, workers: object, said: str
) -> None:
    told = explain(workers=workers, status=1)
    assert said in told and "\x1b" not in told and told.count("\n") == 1


def test_what_is_too_large_is_not_read(explain: Explain) -> None:
    assert "larger than 16 MiB" in explain("--cluster", "-", given=b" " * (1 << 24 | 1), status=1)
    assert "larger than 4 MiB" in explain(task="-", given=b" " * (1 << 22 | 1), status=1)


def test_what_others_wrote_cannot_steer_the_terminal(explain: Explain) -> None:
    told = explain(
        task={**TASK, "model": "m\x1b[2J\n-> fake"},
        workers=[worker("a\x1b]0;x\x07\nb\u202e")],
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", told)
    assert not re.search("^-> fake", told, re.M)


def test_numbers_of_any_size_are_no_fault(explain: Explain) -> None:
    huge = worker("a", inFlight=2**32 - 1, group=-(2**31))
    huge["heartbeat"].update(slots=2**32 - 1, running=2**32 - 1, vram={"total": 2**64 - 1})  # type: ignore[attr-defined]
    huge["heartbeat"]["models"] = [{"name": "m", "state": "LOADED", "rate": 1e308}]  # type: ignore[index]
    task = {"model": "m", "deadlineMs": 2**32 - 1, "text": {"prompt": "x", "maxTokens": 2**32 - 1}}
    assert "WORKER" in explain(task=task, workers=[huge])


@pytest.mark.parametrize(
    ("arguments", "task", "said"),
    [
        ((), None, "name a task with --task"),
        (("b.policy",), TASK, "name one policy"),
        (("--when", "now"), TASK, "there is no option --when"),
        (("--at", "2026-02-30T10:00"), TASK, "no local time"),
        (("--at", "noon"), TASK, "no local time"),
        (("--at",), None, "--at needs a value"),
        (("--cluster", "-"), "-", "only one of"),
        (("--task", "{}"), TASK, "given twice"),
    ],
)
def test_arguments_that_are_not_understood_are_told(
    explain: Explain, arguments: tuple[str, ...], task: object, said: str
) -> None:
    assert said in explain(*arguments, task=task, status=2)
