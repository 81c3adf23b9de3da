"""A model that no worker can hold is computed in slices by workers that are like each other."""

from daiic.wire import daiic_pb2 as pb
from daiic.wire.events import Pong

GIB = 1 << 30
LIKE = "cpu, float32"


def slicer(cluster, name, free=5, like=LIKE, most=8, divided=8, state=pb.AVAILABLE, **fields):
    """A worker with so many GiB free, and a model of 10 GiB of which it could compute a slice."""
    slices = pb.ModelSlices(bytes=divided * GIB, each=GIB, most=most)
    offer = pb.ShardOffer(
        slice_address=f"192.0.2.1:{7900 + len(cluster.members)}",
        slice_bytes=free * GIB,
        like=like,
        links=fields.pop("links", ()),
    )
    return cluster.worker(
        name,
        models=[pb.ModelStatus(name="m", state=state, needs=10 * GIB, slices=slices)],
        ram=pb.Memory(total=free * GIB, free=free * GIB),
        shard=offer,
        **fields,
    )


def members(task):
    return sorted(member.worker_id for member in task.shards.members)


def test_as_few_as_suffice_compute_a_slice_each(cluster):
    lead, second, third = (slicer(cluster, name) for name in ("a", "b", "c"))
    cluster.client().ask()
    task = lead.task()
    (member,) = task.shards.members
    assert member.worker_id == "b"
    assert member.address == second.heartbeat.shard.slice_address
    assert member.bytes == task.shards.bytes == 5 * GIB
    assert not second.tasks() and not third.tasks()


def test_their_number_divides_the_model_s_heads(cluster):
    first, *_ = (slicer(cluster, name, free=4, most=8) for name in ("a", "b", "c"))
    client = cluster.client()
    client.ask()
    assert client.error().message == (
        "m takes 10.0 GiB; a has most, 4.0 GiB, and none lends memory to others, and those that "
        "could compute slices of it are too few, or unlike"
    )
    slicer(cluster, "d", free=4, most=8)
    client.ask()
    assert members(first.task()) == ["b", "c", "d"]


def test_only_like_workers_with_the_same_model_work_together(cluster):
    slicer(cluster, "a", like="cuda, bfloat16")
    slicer(cluster, "b", divided=7)
    slicer(cluster, "c", like="")
    lead = slicer(cluster, "d")
    slicer(cluster, "e")
    cluster.client().ask()
    assert members(lead.task()) == ["e"]


def test_one_that_needs_no_slices_gets_the_task(cluster):
    for name in ("a", "b"):
        slicer(cluster, name)
    large = slicer(cluster, "large", free=16)
    cluster.client().ask()
    assert not large.task().HasField("shards")


def test_those_near_each_other_are_taken(cluster):
    links = [
        pb.ShardLink(worker_id="b", rtt_ms=80, bytes_per_second=1e9),
        pb.ShardLink(worker_id="c", rtt_ms=0.2, bytes_per_second=1e9),
    ]
    lead = slicer(cluster, "a", links=links)
    slicer(cluster, "b")
    slicer(cluster, "c")
    cluster.client().ask(worker_id="a")
    assert members(lead.task()) == ["c"]


def test_of_like_workers_the_nearer_one_leads_though_the_other_has_a_little_more(cluster):
    near, far = (slicer(cluster, name) for name in ("near", "far"))
    far.heartbeat.shard.slice_bytes += 4096
    far.heartbeat.ram.free += 4096
    far.beat()
    for worker, rtt in ((near, 0.0002), (far, 0.0009)):
        cluster.core.take(Pong(worker.address, rtt), cluster.now)
    cluster.client().ask()
    assert members(near.task()) == ["far"]
    assert not far.tasks()


def test_one_that_lends_memory_alone_computes_no_slice(cluster):
    slicer(cluster, "a")
    cluster.worker(
        "lender",
        models=(),
        ram=pb.Memory(total=16 * GIB, free=16 * GIB),
        shard=pb.ShardOffer(address="192.0.2.1:1", bytes=16 * GIB),
    )
    client = cluster.client()
    client.ask()
    assert client.error().code == pb.OUT_OF_MEMORY


def test_same_memory_is_not_given_to_two_models(cluster):
    workers = [slicer(cluster, name) for name in ("a", "b", "c", "d")]
    for worker in workers:
        worker.heartbeat.models.add().CopyFrom(worker.heartbeat.models[0])
        worker.heartbeat.models[1].name = "n"
        worker.beat()
    client = cluster.client()
    client.ask("m")
    client.ask("n")
    tasks = [(worker.heartbeat.worker_id, task) for worker in workers for task in worker.tasks()]
    used = [name for lead, task in tasks for name in (lead, *members(task))]
    assert sorted(used) == ["a", "b", "c", "d"]


def test_answer_goes_on_in_another_group_when_a_member_is_gone(cluster):
    lead, second, _ = (slicer(cluster, name) for name in ("a", "b", "c"))
    client = cluster.client()
    client.ask(stream=True)
    task = lead.task()
    lead.answer(task, 0, text="0 ", tokens=[7], final=False)
    second.say(state=pb.STOPPED)
    assert lead.cancelled() == [task.id]
    again = lead.task()
    assert members(again) == ["c"]
    assert list(again.resume.tokens) == [7]


def test_member_that_has_lost_its_slice_is_left_alone_for_a_while(cluster):
    lead, _, _ = (slicer(cluster, name) for name in ("a", "b", "c"))
    cluster.client().ask()
    reason = "the group of workers that ran m fell apart: b (b) has lost its slice"
    lead.fail(lead.task(), pb.WORKER_LOST, reason)
    assert members(lead.task()) == ["c"]


def test_head_takes_over_a_sliced_group_that_was_formed_before_its_start(cluster):
    lead = slicer(cluster, "lead")
    other = slicer(cluster, "other")
    slicer(cluster, "a-nearer")
    cluster.restart_head()
    for worker in cluster.members.copy().values():
        worker.beat()
    model = lead.heartbeat.models[0]
    model.state = pb.LOADED
    model.shards.extend(
        pb.Shard(worker_id=name, name=name, bytes=4 * GIB, slices=2) for name in ("lead", "other")
    )
    lead.beat()
    cluster.client().ask()
    (member,) = lead.task().shards.members
    assert (member.worker_id, member.address) == ("other", other.heartbeat.shard.slice_address)
