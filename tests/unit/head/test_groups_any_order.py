"""Workers with any memory come and go, and models of any size are asked for.

No memory is promised twice, every task is answered or refused, and groups form again.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from daiic.wire import daiic_pb2 as pb

GIB = 1 << 30
NAMES = ("a", "b", "c", "d", "e")
PICK = st.integers(min_value=0, max_value=1000)


class Machine:
    """A worker that loads what it is told to, and measures what it has."""

    def __init__(self, cluster, name, ram, sizes, has, gpu):
        self.ram = ram * GIB
        self.gpu = gpu
        self.sizes = {model: sizes[model] * GIB for model in has}
        self.parts = {}  # what it holds itself, and members' bytes by their names
        self.running = {}
        self.waiting = []
        self.lent = {}  # bytes by the name of who leads
        offer = pb.ShardOffer(address=f"192.0.2.1:{7800 + NAMES.index(name)}")
        self.worker = cluster.worker(
            name, models=[], shard=offer, incarnation=next(cluster.numbers) + 1000
        )
        self.name = name

    @property
    def held(self):
        return sum(own for own, _ in self.parts.values()) + sum(self.lent.values())

    def tell(self):
        """Bring the heartbeat, which goes out some time later, up to date."""
        beat = self.worker.heartbeat
        free = max(self.ram - self.held, 0)
        memory = beat.vram if self.gpu else beat.ram
        memory.total, memory.free = self.ram, free
        beat.shard.bytes = free
        del beat.models[:]
        for model, size in self.sizes.items():
            status = beat.models.add(
                name=model, state=pb.AVAILABLE, needs=size, lead_needs=GIB // 2
            )
            if model in self.parts:
                own, members = self.parts[model]
                status.state = pb.LOADED
                status.bytes = own
                if members:
                    status.shards.add(worker_id=self.name, bytes=own)
                for other, lent in members.items():
                    status.shards.add(worker_id=other, bytes=lent)

    def busy(self, model):
        return any(task.model == model for task, _ in self.running.values())


class Cluster(RuleBasedStateMachine):
    """A client and up to five machines."""

    new_cluster: type

    def __init__(self):
        super().__init__()
        self.cluster = self.new_cluster(task_deadline=900.0, max_attempts=50)
        self.client = self.cluster.client()
        self.machines = {}
        self.texts = {}
        self.ended = {}
        self.sizes = {"small": 2, "large": 7, "huge": 12, "vast": 33}

    # --------------------------------------------------------------- machines

    def unload(self, machine, model):
        _, members = machine.parts.pop(model)
        for other in members:
            if other in self.machines:
                self.machines[other].lent.pop(machine.name, None)

    def load(self, machine, task):
        """Let `machine` do as its task says; return whether it could."""
        plan = {member.worker_id: member.bytes for member in task.shards.members}
        have = machine.parts.get(task.model)
        if have is not None and (not plan or have[1].keys() == plan.keys()):
            return True
        if have is not None:
            self.unload(machine, task.model)
        for model in [model for model in machine.parts if not machine.busy(model)]:
            self.unload(machine, model)
        own = task.shards.bytes if plan else machine.sizes[task.model]
        if machine.held + own > machine.ram:
            if machine.parts:  # which leave when their tasks have ended
                machine.waiting.append(task)
            else:
                assert not plan, "a lead gets more than it has"
                machine.worker.fail(task, pb.OUT_OF_MEMORY)
            return False
        for other, size in plan.items():
            if other not in self.machines:
                machine.worker.fail(task, pb.WORKER_LOST, f"{other} is not reached")
                return False
            assert not self.machines[other].lent, "a lender gets a second leader"
            lender = self.machines[other]
            if lender.held + size > lender.ram:
                assert lender.parts, "a lender gets more than it has"
                machine.worker.fail(task, pb.WORKER_LOST, f"{other} has just loaded a model itself")
                return False
        for other, size in plan.items():
            self.machines[other].lent[machine.name] = size
        machine.parts[task.model] = own, plan
        return True

    def collect(self):
        for machine in list(self.machines.values()):
            waiting, machine.waiting = machine.waiting, []
            for task in [*waiting, *machine.worker.tasks()]:
                if task.HasField("unload"):
                    if task.model in machine.parts and not machine.busy(task.model):
                        self.unload(machine, task.model)
                elif self.load(machine, task):
                    machine.running[task.id] = (task, task.resume.index)
            for task_id in machine.worker.cancelled():
                machine.running.pop(task_id, None)
                machine.waiting = [task for task in machine.waiting if task.id != task_id]
        for machine in self.machines.values():
            machine.tell()
        for part in self.client.results():
            assert part.index == len(self.texts[part.id])
            self.texts[part.id].append(part.text)
            if part.final:
                self.end(part.id)
        for error in self.client.errors():
            assert error.message and error.remedy
            self.said = error.message
            self.end(error.id)

    def end(self, task_id):
        assert task_id not in self.ended
        self.ended[task_id] = True

    # ------------------------------------------------------------------ events

    @rule(name=st.sampled_from(NAMES), ram=st.integers(3, 9), has=PICK, gpu=st.booleans())
    def arrive(self, name, ram, has, gpu):
        if name not in self.machines:
            models = [m for number, m in enumerate(self.sizes) if has >> number & 1]
            machine = Machine(self.cluster, name, ram, self.sizes, models, gpu)
            self.machines[name] = machine
            machine.tell()
            machine.worker.beat()

    @rule(name=st.sampled_from(NAMES), silently=st.booleans())
    def leave(self, name, silently):
        machine = self.machines.pop(name, None)
        if machine is None:
            return
        for model in list(machine.parts):
            self.unload(machine, model)
        for other in self.machines.values():
            for model in [m for m, (_, members) in other.parts.items() if name in members]:
                self.lose_member(other, model, name)
        machine.worker.alive = False
        if not silently:
            machine.worker.say(state=pb.STOPPED)
        del self.cluster.members[machine.worker.address]

    def lose_member(self, lead, model, name):
        self.unload(lead, model)
        for task, _ in [run for run in lead.running.values() if run[0].model == model]:
            del lead.running[task.id]
            lead.worker.fail(task, pb.WORKER_LOST, f"{name} no longer answers")

    @rule(model=st.sampled_from(["small", "large", "huge", "vast"]))
    def ask(self, model):
        self.texts[self.client.ask(model, stream=True)] = []

    @rule(pick=PICK, final=st.booleans())
    def answer(self, pick, final):
        self.collect()
        runs = [(m, t) for m in self.machines.values() for t in m.running]
        if runs:
            machine, task_id = runs[pick % len(runs)]
            task, index = machine.running[task_id]
            final = final or index >= 2
            machine.running[task_id] = (task, index + 1)
            if final:
                del machine.running[task_id]
            machine.worker.answer(task, index, text=str(index), tokens=[index], final=final)

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 12.0]))
    def wait(self, seconds):
        self.cluster.pass_time(seconds)

    @invariant()
    def nothing_is_given_twice(self):
        self.collect()
        for machine in self.machines.values():
            assert len(machine.lent) <= 1
            assert machine.held <= machine.ram

    def teardown(self):
        """In the end there is room for everything, and everything is answered."""
        for number, name in enumerate(NAMES):
            self.leave(name, silently=False)
            self.arrive(name, 9, 15 if number < 2 else 0, gpu=number == 1)
        for model in ("huge", "vast", "huge"):  # not both at once
            self.ask(model)
            for _ in range(600):
                self.cluster.pass_time(0.5)
                self.answer(0, True)
                if self.ended.keys() == self.texts.keys():
                    break
            assert self.ended.keys() == self.texts.keys()
            assert self.texts[max(self.texts)], self.said
        assert self.cluster.core.dispatcher.jobs == {}
        for text in self.texts.values():
            assert text == [str(number) for number in range(len(text))]


def test_memory_is_promised_once_and_every_task_ends_whoever_comes_and_goes(new_cluster):
    machine = type("Machines", (Cluster,), {"new_cluster": new_cluster})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=30))
