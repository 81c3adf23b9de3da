"""A prompt goes to the worker that has read its beginning, by the hashes in `Task.prefix`."""

from daiic.client.prompt_prefix import prompt_prefix
from daiic.head.limits import LIMITS
from daiic.prompt_blocks import ENDS, HASH
from daiic.wire import daiic_pb2 as pb

BLOCKS = 20
"""Of a prompt: as many as its first 6 KiB have."""
PROMPT_TOKENS = 1500


def text_of(name, blocks=BLOCKS):
    """Return a text with so many blocks, and not one of another name's."""
    return (f"{name} " * ENDS[blocks - 1])[: ENDS[blocks - 1]]


def ask(client, text, model="m", **fields):
    """Send a prompt with its prefix; return the task's id."""
    task = pb.Task(model=model, text=pb.TextTask(prompt=text, max_tokens=64))
    fields.setdefault("prefix", prompt_prefix(task))
    return client.ask(model, text=task.text, **fields)


def answered(workers, kept=0.9):
    """Answer the one task that one of `workers` has; return that worker.

    `kept` is how much of the prompt it did not read.
    """
    (got,) = [(worker, task) for worker in workers for task in worker.tasks()]
    worker, task = got
    worker.answer(
        task,
        usage=pb.Usage(prompt_tokens=PROMPT_TOKENS, cached_tokens=int(kept * PROMPT_TOKENS)),
    )
    return worker


def test_a_chat_goes_on_where_it_began(cluster):
    workers = [cluster.worker(f"w{number}") for number in range(4)]
    client = cluster.client()
    for name in "one", "two", "three":
        ask(client, text_of(name))
        first = answered(workers)
        for turn in range(1, 4):
            ask(client, text_of(name) + text_of("more", turn))
            assert answered(workers) is first


def test_prompts_with_a_long_beginning_in_common_share_a_worker(cluster):
    workers = [cluster.worker(f"w{number}") for number in range(4)]
    client = cluster.client()
    ask(client, text_of("rules") + "first question")
    first = answered(workers)
    for question in "second", "third":
        ask(client, text_of("rules") + f"{question} question")
        assert answered(workers) is first


def test_what_is_being_read_for_the_first_time_is_no_reason_to_queue_up_there(cluster):
    workers = [cluster.worker(f"w{number}") for number in range(2)]
    client = cluster.client()
    for _ in workers:
        ask(client, text_of("rules"))
    assert [len(worker.tasks()) for worker in workers] == [1, 1]


def test_a_stream_tells_with_its_first_part_that_the_prompt_was_read(cluster):
    workers = [cluster.worker(f"w{number}") for number in range(2)]
    client = cluster.client()
    ask(client, text_of("rules"), stream=True)
    (first,) = [worker for worker in workers if worker.inbox]
    begun = first.task()
    first.answer(begun, final=False, text="Well", model=pb.ModelIdentity(weights="w"))
    ask(client, text_of("rules", BLOCKS + 16))
    assert first.task()


def test_a_worker_with_much_to_do_is_left_for_one_that_has_to_read_more(cluster):
    workers = [cluster.worker(f"w{number}", slots=4) for number in range(2)]
    client = cluster.client()
    chat = text_of("chat", 4)
    ask(client, chat)
    first = answered(workers)
    ask(client, chat)
    assert answered(workers) is first
    for _ in range(3):
        ask(client, "short", worker_id=first.heartbeat.worker_id)
    assert len(first.tasks()) == 3
    ask(client, chat)
    assert answered(workers) is not first


def test_workers_do_not_get_the_hashes(cluster):
    worker = cluster.worker()
    client = cluster.client()
    for blocks in 2, 40:
        ask(client, text_of("chat", blocks))
        task = worker.task()
        assert not task.prefix
        assert task.text.prompt == text_of("chat", blocks)
        worker.answer(task)


def test_hashes_that_cannot_be_are_no_hint_and_no_error(cluster):
    workers = [cluster.worker(f"w{number}") for number in range(2)]
    client = cluster.client()
    for prefix in b"x" * 7, b"x" * 161:
        got = set()
        for _ in workers:
            ask(client, text_of("chat"), prefix=prefix)
            got.add(answered(workers))
        assert got == {*workers}
    ask(client, text_of("chat"), prefix=bytes(range(256)) * 100)
    first = answered(workers)
    ask(client, text_of("chat"), prefix=bytes(range(256)) * 100)
    assert answered(workers) is first
    assert not client.errors()


def test_tasks_that_are_no_text_have_no_beginning(cluster):
    workers = [cluster.worker(f"w{number}") for number in range(2)]
    client = cluster.client()
    got = set()
    for _ in workers:
        client.ask(image=pb.ImageTask(prompt="a red circle"), prefix=b"12345678" * 20)
        got.add(answered(workers))
    assert got == {*workers}


def test_what_was_read_by_another_model_does_not_count(cluster):
    workers = [cluster.worker(f"w{number}", models=("m", "n")) for number in range(2)]
    client = cluster.client()
    prefix = prompt_prefix(pb.Task(model="m", text=pb.TextTask(prompt=text_of("chat"))))
    got = set()
    for model in "m", "n":
        ask(client, text_of("chat"), model, prefix=prefix)
        got.add(answered(workers))
    assert got == {*workers}


def test_a_worker_that_was_restarted_has_read_nothing(cluster):
    workers = [cluster.worker(f"w{number}") for number in range(2)]
    client = cluster.client()
    ask(client, text_of("chat"))
    first = answered(workers)
    first.restart()
    ask(client, "short", worker_id=first.heartbeat.worker_id)
    assert answered(workers) is first
    ask(client, text_of("chat"))
    assert answered(workers) is not first


def test_a_model_that_was_unloaded_has_read_nothing(cluster):
    workers = [cluster.worker(f"w{number}") for number in range(2)]
    client = cluster.client()
    ask(client, text_of("chat"))
    first = answered(workers)
    for state in pb.LOADING, pb.LOADED:
        first.heartbeat.models[0].state = state
        first.beat()
    ask(client, text_of("chat"))
    assert answered(workers) is not first


def test_a_worker_that_turns_out_to_keep_nothing_is_not_sought_for_long(cluster):
    workers = [cluster.worker(f"w{number}", slots=16) for number in range(2)]
    client = cluster.client()
    ask(client, text_of("chat"))
    first = answered(workers, kept=0)
    ask(client, "short", worker_id=first.heartbeat.worker_id)
    assert first.task()
    placed = []
    for _ in range(6):
        ask(client, text_of("chat"))
        placed.append(answered(workers, kept=0))
    assert placed[0] is first  # what it has read is worth more than its one task costs
    assert placed[-1] is not first


def test_what_was_read_long_ago_is_forgotten(cluster):
    workers = [cluster.worker(f"w{number}") for number in range(2)]
    client = cluster.client()
    ask(client, text_of("chat"))
    first = answered(workers)
    for number in range(LIMITS.read_blocks // BLOCKS + 1):
        ask(client, text_of(f"other {number}"), worker_id=first.heartbeat.worker_id)
        assert answered(workers) is first
    ask(client, text_of("chat"))
    assert answered(workers) is not first


def test_a_prompt_of_any_length_is_told_by_few_hashes(cluster):
    workers = [cluster.worker(f"w{number}") for number in range(2)]
    client = cluster.client()
    ask(client, text_of("book", 64))
    first = answered(workers)
    prefix = prompt_prefix(pb.Task(model="m", text=pb.TextTask(prompt=text_of("book", 64) * 2)))
    assert len(prefix) == 64 * HASH
    ask(client, text_of("book", 64) * 2)
    assert answered(workers) is first


def test_a_worker_that_tells_how_much_it_keeps_is_taken_to_have_no_more(cluster):
    tokens = 2 * ENDS[BLOCKS - 1] // 4 + 100  # two of these texts
    status = pb.ModelStatus(name="m", state=pb.LOADED, cache_tokens=tokens)
    workers = [cluster.worker(f"w{number}", [status]) for number in range(2)]
    client = cluster.client()
    reader = workers[0].heartbeat.worker_id
    for name in "one", "two", "one", "three":  # of which the first was of use more recently
        ask(client, text_of(name), worker_id=reader)
        assert answered(workers) is workers[0]
    for _ in workers:  # so that the other one is next where both are alike
        ask(client, "short")
    for worker in workers:
        worker.answer(worker.task())
    ask(client, text_of("two"))
    assert answered(workers) is workers[1]
    for name in "one", "three":
        ask(client, text_of(name) + "and on")
        assert answered(workers) is workers[0]


def test_what_one_model_keeps_takes_nothing_from_another(cluster):
    models = [pb.ModelStatus(name=name, state=pb.LOADED, cache_tokens=1600) for name in ("m", "n")]
    workers = [cluster.worker(f"w{number}", models) for number in range(2)]
    client = cluster.client()
    ask(client, text_of("chat"))
    first = answered(workers)
    for number in range(3):
        ask(client, text_of(f"other {number}"), "n", worker_id=first.heartbeat.worker_id)
        assert answered(workers) is first
    ask(client, text_of("chat"))
    assert answered(workers) is first


def test_a_cache_of_any_size_that_a_worker_tells_of_does_no_harm(cluster):
    for tokens in 1, (1 << 64) - 1:
        status = pb.ModelStatus(name=f"m{tokens}", state=pb.LOADED, cache_tokens=tokens)
        workers = [cluster.worker(f"w{tokens} {number}", [status]) for number in range(2)]
        client = cluster.client()
        for _ in range(2):
            ask(client, text_of("chat"), status.name)
            first = answered(workers)
        ask(client, text_of("chat"), status.name)
        assert answered(workers) is first
    assert max(w.heartbeat.models[0].cache_tokens for w in client.status().workers) == 1 << 56


def test_hashes_that_are_no_prompts_forget_nothing_of_others(cluster):
    tokens = 4 * ENDS[BLOCKS - 1] // 4
    status = pb.ModelStatus(name="m", state=pb.LOADED, cache_tokens=tokens)
    workers = [cluster.worker(f"w{number}", [status]) for number in range(2)]
    client = cluster.client()
    ask(client, text_of("chat"))
    first = answered(workers)
    for number in range(50):
        same = bytes([number]) * HASH * BLOCKS
        ask(client, "strange", prefix=same, worker_id=first.heartbeat.worker_id)
        assert answered(workers) is first
        ask(client, text_of("chat"))
        assert answered(workers) is first
