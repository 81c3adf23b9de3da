"""Whatever happens in whatever order, every task ends once, and every text is whole."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from daiic.wire import daiic_pb2 as pb
from unit.head.test_prefixes import ask, text_of

MODELS = ("a", "b")
CHATS = [text_of("one", 30), text_of("two", 30)]
"""Prompts that are worth waiting for the worker that has read them."""
LENGTH = 3
PICK = st.integers(min_value=0, max_value=1000)


class Turmoil(RuleBasedStateMachine):
    """Two clients and three workers, of which each does what it likes."""

    new_cluster: type

    def __init__(self):
        super().__init__()
        self.cluster = self.new_cluster(queue_size=4, task_deadline=30.0)
        self.workers = [
            self.cluster.worker("both", models=MODELS, slots=2),
            self.cluster.worker("a", models=("a",), slots=1),
            self.cluster.worker("b", models={"b": pb.AVAILABLE}, slots=2),
        ]
        self.clients = [self.cluster.client() for _ in range(2)]
        self.running = {worker: {} for worker in self.workers}
        self.texts = {}
        self.ended = {}
        self.cancelled = set()

    def collect(self):
        """Read everything that the head has sent."""
        for worker in self.workers:
            for task in worker.tasks():
                assert task.id not in self.running[worker]
                self.running[worker][task.id] = (task, task.resume.index)
            for task_id in worker.cancelled():
                self.running[worker].pop(task_id, None)
        for client in self.clients:
            for part in client.results():
                text = self.texts[part.id]
                assert part.index == len(text)
                text.append(part.text)
                if part.final:
                    self.end(part.id)
            for error in client.errors():
                self.end(error.id)

    def end(self, task_id):
        assert task_id not in self.ended
        assert task_id not in self.cancelled
        self.ended[task_id] = True

    def some_run(self, pick):
        self.collect()
        runs = [(w, t) for w, tasks in self.running.items() for t in tasks.values()]
        return runs[pick % len(runs)] if runs else None

    @rule(
        who=PICK,
        model=st.sampled_from(MODELS),
        deadline=st.sampled_from([0, 3000]),
        prompt=st.sampled_from(["hello", *CHATS]),
    )
    def ask(self, who, model, deadline, prompt):
        client = self.clients[who % 2]
        fields = {"stream": True, "deadline_ms": deadline}
        self.texts[ask(client, prompt, model, **fields)] = []

    @rule(chat=st.sampled_from(CHATS))
    def read(self, chat):
        """Let one worker read a chat and get something else to do; then the chat goes on."""
        worker = self.workers[1]
        client = self.clients[0]
        first = ask(client, chat, "a", worker_id="a", stream=True)
        self.texts[first] = []
        self.collect()
        for attempt, (task, index) in list(self.running[worker].items()):
            self.cluster.now += 0.1
            worker.answer(task, index, text=str(index), tokens=[index])
            del self.running[worker][attempt]
        for prompt, worker_id in ("hello", "a"), (chat, ""):
            task_id = ask(client, prompt, "a", worker_id=worker_id, stream=True)
            self.texts[task_id] = []

    @rule(pick=PICK, final=st.booleans())
    def answer(self, pick, final):
        run = self.some_run(pick)
        if run is None:
            return
        worker, (task, index) = run
        final = final or index >= LENGTH
        worker.answer(task, index, text=str(index), tokens=[index], final=final)
        self.running[worker][task.id] = (task, index + 1)
        if final:
            del self.running[worker][task.id]

    @rule(
        pick=PICK,
        code=st.sampled_from([pb.INTERNAL, pb.SHUTTING_DOWN, pb.BAD_REQUEST, pb.OUT_OF_MEMORY]),
    )
    def fail(self, pick, code):
        run = self.some_run(pick)
        if run is not None:
            worker, (task, _) = run
            del self.running[worker][task.id]
            worker.fail(task, code)

    @rule(pick=PICK)
    def cancel(self, pick):
        self.collect()
        left = [task_id for task_id in self.texts if task_id not in self.ended]
        if left:
            task_id = left[pick % len(left)]
            self.cancelled.add(task_id)
            for client in self.clients:
                client.cancel(task_id)

    @rule(who=st.integers(0, 2))
    def restart(self, who):
        self.running[self.workers[who]].clear()
        self.workers[who].alive = True
        self.workers[who].restart()

    @rule(who=st.integers(0, 2))
    def die(self, who):
        self.running[self.workers[who]].clear()
        self.workers[who].alive = False

    @rule(who=st.integers(0, 2), state=st.sampled_from([pb.READY, pb.DRAINING, pb.STARTING]))
    def change(self, who, state):
        if self.workers[who].alive:
            self.workers[who].say(state=state)

    @rule(who=st.integers(0, 2))
    def lose_sight(self, who):
        self.workers[who].unreachable()

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 12.0]))
    def wait(self, seconds):
        self.cluster.pass_time(seconds)
        for worker in self.workers:
            if not worker.alive:
                worker.inbox.clear()

    @invariant()
    def books_balance(self):
        self.collect()
        dispatcher = self.cluster.core.dispatcher
        assert dispatcher.in_flight == sum(len(worker.attempts) for worker in dispatcher.workers)
        for worker in dispatcher.workers:
            assert len(worker.attempts) <= worker.slots

    def teardown(self):
        """In the end all workers work, and nothing is left."""
        for worker in self.workers:
            self.running[worker].clear()
            worker.alive = True
            worker.restart()
            worker.say(state=pb.READY)
        for _ in range(400):
            run = self.some_run(0)
            if run is None:
                break
            self.answer(0, False)
        self.cluster.pass_time(31)
        self.collect()
        left = {task_id for task_id in self.texts if task_id not in self.cancelled}
        assert left <= self.ended.keys()
        assert self.cluster.core.dispatcher.jobs == {}
        for text in self.texts.values():
            assert text == [str(number) for number in range(len(text))]


@pytest.mark.parametrize("steps", [20, 60])
def test_every_task_ends_once_and_every_text_is_whole(new_cluster, steps):
    machine = type("Machine", (Turmoil,), {"new_cluster": new_cluster})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=steps)
    )
