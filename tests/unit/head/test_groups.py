"""A model that no worker can hold is held by several, whom the head brings together."""

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.wire.events import Pong

GIB = 1 << 30


def lender(
    cluster, name, ram=4, lends=None, takes=10, state=pb.AVAILABLE, links=(), keeps=0, **fields
):
    """A worker with so many GiB, of which it lends all; if `takes`, it has the model "m"."""
    model = pb.ModelStatus(name="m", state=state, needs=takes * GIB, lead_needs=keeps * GIB)
    models = [model] if takes else []
    offer = pb.ShardOffer(
        address=f"192.0.2.1:{7800 + len(cluster.members)}",
        bytes=(ram if lends is None else lends) * GIB,
        links=[
            pb.ShardLink(worker_id=other, rtt_ms=rtt, bytes_per_second=speed)
            for other, rtt, speed in links
        ],
    )
    memory = pb.Memory(total=ram * GIB, free=ram * GIB)
    return cluster.worker(name, models=models, ram=memory, shard=offer, **fields)


def three(cluster):
    return (
        lender(cluster, "lead"),
        lender(cluster, "second", takes=0),
        lender(cluster, "third", takes=0),
    )


def members(task):
    return sorted(member.worker_id for member in task.shards.members)


def holds(worker, *parts):
    """Let `worker` say that it has loaded the model with these parts."""
    model = worker.heartbeat.models[0]
    model.state = pb.LOADED
    del model.shards[:]
    model.shards.extend(pb.Shard(worker_id=name, name=name, bytes=size) for name, size in parts)
    worker.beat()


# --------------------------------------------------------------------- forming


def test_workers_hold_together_what_none_can_alone(cluster):
    lead, second, third = three(cluster)
    cluster.client().ask()
    task = lead.task()
    assert members(task) == ["second", "third"]
    assert [member.address for member in task.shards.members] == [
        second.heartbeat.shard.address,
        third.heartbeat.shard.address,
    ]
    sizes = [member.bytes for member in task.shards.members]
    assert sizes[0] == sizes[1] and 2 * GIB < sizes[0] < 4 * GIB
    assert task.shards.bytes < 4 * GIB
    assert task.shards.bytes + sum(sizes) >= 10 * GIB
    assert not second.tasks() and not third.tasks()


def test_later_tasks_go_to_the_same_lead_with_the_same_plan(cluster):
    lead, _, _ = three(cluster)
    client = cluster.client()
    client.ask()
    first = lead.task()
    holds(lead, ("lead", 3 * GIB), ("second", 3 * GIB), ("third", 3 * GIB))
    lead.answer(first)
    cluster.pass_time(60)
    client.ask()
    assert lead.task().shards == first.shards


def test_one_that_can_hold_the_model_alone_gets_the_task(cluster):
    three(cluster)
    large = lender(cluster, "large", ram=16)
    cluster.client().ask()
    assert not large.task().HasField("shards")


def test_task_waits_for_one_that_starts_and_can_hold_the_model_alone(cluster):
    lead, _, _ = three(cluster)
    large = lender(cluster, "large", ram=16, state=pb.LOADING)
    large.say(state=pb.STARTING)
    cluster.client().ask()
    assert not lead.tasks()
    large.say(state=pb.READY)
    assert large.task()


def test_what_a_worker_would_unload_counts_as_room(cluster):
    worker = cluster.worker(
        models=[
            pb.ModelStatus(name="other", state=pb.LOADED, bytes=6 * GIB),
            pb.ModelStatus(name="m", state=pb.AVAILABLE, needs=7 * GIB),
        ],
        ram=pb.Memory(total=16 * GIB, free=2 * GIB),
    )
    cluster.client().ask()
    assert worker.task()


def test_model_with_two_names_takes_its_memory_once(cluster):
    loaded = {"state": pb.LOADED, "bytes": 6 * GIB, "identity": pb.ModelIdentity(weights="w")}
    worker = cluster.worker(
        models=[
            pb.ModelStatus(name="one", **loaded),
            pb.ModelStatus(name="other", **loaded),
            pb.ModelStatus(name="m", state=pb.AVAILABLE, needs=10 * GIB),
        ],
        ram=pb.Memory(total=16 * GIB, free=2 * GIB),
    )
    client = cluster.client()
    client.ask()
    assert not worker.tasks()
    assert "w has most, 8.0 GiB" in client.error().message


def test_who_does_not_tell_its_memory_is_tried(cluster):
    worker = cluster.worker(models=[pb.ModelStatus(name="m", state=pb.AVAILABLE, needs=GIB)])
    cluster.client().ask()
    assert worker.task()


def test_model_is_not_downloaded_by_one_that_could_not_hold_it(cluster):
    small = cluster.worker(
        "small", models=(), can_download=True, ram=pb.Memory(total=4 * GIB, free=4 * GIB)
    )
    lead = lender(cluster, "lead")
    lender(cluster, "second", ram=8, takes=0)
    lead.heartbeat.models[0].name = "o/m"
    lead.beat()
    cluster.client().ask("o/m")
    assert members(lead.task()) == ["second"]
    assert not small.tasks()


def test_no_more_members_than_suffice(cluster):
    lead = lender(cluster, "lead", ram=6)
    for name, ram in (("a", 2), ("b", 6), ("c", 2)):
        lender(cluster, name, ram=ram, takes=0)
    cluster.client().ask()
    assert members(lead.task()) == ["b"]


def test_near_members_are_taken_rather_than_a_far_one_with_more_memory(cluster):
    links = (("far", 80.0, 1e9), ("a", 0.2, 1e9), ("b", 0.2, 1e9))
    lead = lender(cluster, "lead", links=links)
    for name, ram in (("far", 32), ("a", 4), ("b", 4)):
        lender(cluster, name, ram=ram, takes=0)
    cluster.client().ask()
    assert members(lead.task()) == ["a", "b"]


def test_far_one_is_taken_if_the_near_ones_are_too_few(cluster):
    lead = lender(cluster, "lead", links=(("far", 80.0, 1e9), ("a", 0.2, 1e9)))
    lender(cluster, "far", ram=8, takes=0)
    lender(cluster, "a", ram=1, takes=0)
    cluster.client().ask()
    assert members(lead.task()) == ["far"]


def test_member_behind_a_slow_way_counts_as_further(cluster):
    links = (("slow", 0.2, 1e6), ("fast", 0.2, 1e9))
    lead = lender(cluster, "lead", links=links)
    lender(cluster, "slow", ram=9, takes=0)
    lender(cluster, "fast", ram=8, takes=0)
    cluster.client().ask()
    assert members(lead.task()) == ["fast"]


def test_gpu_with_the_model_leads(cluster):
    memory = pb.Memory(total=4 * GIB, free=4 * GIB)
    cpu = lender(cluster, "a-cpu")
    gpu = lender(cluster, "gpu", ram=0, lends=4, vram=memory)
    lender(cluster, "other", takes=0)
    cluster.client().ask()
    assert gpu.task().shards.members
    assert not cpu.tasks()


def test_named_worker_leads(cluster):
    lender(cluster, "a")
    named = lender(cluster, "named")
    lender(cluster, "third", takes=0)
    cluster.client().ask(worker_id="named")
    assert members(named.task()) == ["a", "third"]


def test_only_workers_with_the_task_s_tags_are_members(cluster):
    lead = lender(cluster, "lead", tags=["ours"])
    lender(cluster, "theirs", ram=8, takes=0)
    lender(cluster, "ours", ram=8, takes=0, tags=["ours"])
    cluster.client().ask(tags=["ours"])
    assert members(lead.task()) == ["ours"]


def test_plan_of_a_client_reaches_no_worker(cluster):
    worker = cluster.worker()
    plan = pb.ShardPlan(members=[pb.ShardMember(worker_id="x", address="203.0.113.1:1", bytes=1)])
    client = cluster.client()
    client.ask(shards=plan)
    client.ask(shards=plan, text=pb.TextTask(prompt="x" * 10_000))
    tasks = worker.tasks()
    assert len(tasks) == 2
    assert not any(task.HasField("shards") for task in tasks)


def test_same_memory_is_not_lent_twice(cluster):
    lead, second, third = three(cluster)
    other = lender(cluster, "other", takes=0)
    other.heartbeat.models.append(pb.ModelStatus(name="n", state=pb.AVAILABLE, needs=10 * GIB))
    other.beat()
    client = cluster.client()
    client.ask("m")
    task = lead.task()
    lent = {member.worker_id: member.bytes for member in task.shards.members}
    client.ask("n")
    cluster.pass_time(5)
    for again in other.tasks():
        for member in again.shards.members:
            assert member.bytes + lent.get(member.worker_id, 0) <= 4 * GIB
    assert not client.errors()
    assert not second.tasks() and not third.tasks()


def test_what_cannot_be_shared_stays_with_the_lead(cluster):
    lead = lender(cluster, "lead", keeps=3)
    lender(cluster, "second", takes=0)
    lender(cluster, "third", takes=0)
    cluster.client().ask()
    plan = lead.task().shards
    assert 3 * GIB < plan.bytes < 4 * GIB
    assert sum(member.bytes for member in plan.members) > 6 * GIB


def test_one_that_has_no_room_for_what_cannot_be_shared_does_not_lead(cluster):
    small = lender(cluster, "a", ram=2, keeps=2)
    large = lender(cluster, "b", keeps=2)
    lender(cluster, "c", ram=8, takes=0)
    cluster.client().ask()
    assert members(large.task()) == ["c"]
    assert not small.tasks()


def test_a_group_gets_more_than_the_least_where_there_is_more(cluster):
    lead = lender(cluster, "lead")
    lender(cluster, "large", ram=9, takes=0)
    lender(cluster, "second", ram=9, takes=0)
    cluster.client().ask()
    plan = lead.task().shards
    assert len(plan.members) == 1
    assert 11 * GIB < plan.bytes + plan.members[0].bytes < 13 * GIB


# ---------------------------------------------------------------------- leading


def gpu(cluster, name, vram, ram=0, **fields):
    memory = pb.Memory(total=vram * GIB, free=vram * GIB)
    return lender(cluster, name, ram=ram, lends=vram, vram=memory, **fields)


def test_gpu_that_leads_gets_all_that_it_can_hold(cluster):
    lead = gpu(cluster, "gpu", 8, keeps=1)
    lender(cluster, "cpu", ram=16, takes=0)
    cluster.worker("rest", models=(), ram=pb.Memory(total=GIB, free=GIB))
    cluster.client().ask()
    plan = lead.task().shards
    assert plan.bytes == 8 * GIB - 8 * GIB // 16
    assert 2 * GIB < plan.members[0].bytes < 5 * GIB


def test_gpu_leads_though_a_cpu_has_more_memory_and_needs_fewer_members(cluster):
    cpu = lender(cluster, "cpu", ram=9)
    lead = gpu(cluster, "gpu", 2)
    lender(cluster, "other", takes=0)
    cluster.client().ask()
    assert members(lead.task()) == ["cpu"]
    assert not cpu.tasks()


def test_ram_of_a_gpu_s_machine_is_no_room_for_layers_that_it_leads(cluster):
    lead = gpu(cluster, "gpu", 4, ram=5)
    lender(cluster, "other", takes=0)
    client = cluster.client()
    client.ask()
    assert not lead.tasks()
    assert client.error().code == pb.OUT_OF_MEMORY


def test_far_gpu_does_not_lead_before_a_near_cpu(cluster):
    far = gpu(cluster, "gpu", 8, links=(("a", 30.0, 1e9), ("b", 30.0, 1e9)))
    near = lender(cluster, "a", links=(("b", 0.2, 1e9),))
    lender(cluster, "b", ram=8, takes=0)
    cluster.client().ask()
    assert members(near.task()) == ["b"]
    assert not far.tasks()


def test_of_like_workers_the_one_with_more_memory_leads_then_the_nearer_one(cluster):
    workers = [lender(cluster, name, ram=ram) for name, ram in (("a", 4), ("b", 6), ("c", 6))]
    for worker, rtt in zip(workers, (0.0001, 0.0009, 0.0002), strict=True):
        cluster.core.take(Pong(worker.address, rtt), cluster.now)
    cluster.client().ask()
    assert members(workers[2].task()) == ["b"]


# ---------------------------------------------------------------- making room


def loaded(worker, name):
    """Let `worker` say that it has `name`; return the last task, which it has not answered."""
    model = next(model for model in worker.heartbeat.models if model.name == name)
    model.state = pb.LOADED
    task = worker.task()
    del model.shards[:]
    own = worker.heartbeat.worker_id
    model.shards.add(worker_id=own, name=own, bytes=task.shards.bytes)
    for member in task.shards.members:
        model.shards.add(worker_id=member.worker_id, name=member.name, bytes=member.bytes)
    takes_up(worker.cluster, model, -1)
    return task


def unloads(worker, name):
    """Let `worker` have no part of `name` any more."""
    model = next(model for model in worker.heartbeat.models if model.name == name)
    model.state = pb.AVAILABLE
    takes_up(worker.cluster, model, 1)
    del model.shards[:]
    worker.beat()


def takes_up(cluster, model, sign):
    """Let all who hold a part of `model` say what is free."""
    sizes = {shard.worker_id: shard.bytes for shard in model.shards}
    for worker in cluster.members.copy().values():
        if hasattr(worker, "heartbeat"):
            changed = sign * sizes.get(worker.heartbeat.worker_id, 0)
            worker.heartbeat.ram.free += changed
            worker.heartbeat.shard.bytes += changed
            worker.beat()


def two_models(cluster):
    """One worker that could lead a group for "m", one for "n", and a lender that both need."""
    first = lender(cluster, "first")
    second = lender(cluster, "second")
    second.heartbeat.models[0].name = "n"
    second.beat()
    lender(cluster, "third", takes=0)
    return first, second


def test_idle_group_ends_when_another_model_needs_its_memory(cluster):
    first, second = two_models(cluster)
    client = cluster.client()
    client.ask("m")
    first.answer(loaded(first, "m"))
    client.ask("n")
    task = first.task()
    assert task.HasField("unload") and task.model == "m"
    cluster.pass_time(1)
    assert not second.tasks() and not first.tasks() and not client.errors()
    unloads(first, "m")
    cluster.pass_time(1)
    assert members(second.task()) == ["first", "third"]


def test_group_with_tasks_is_not_ended_for_another_model(cluster):
    first, second = two_models(cluster)
    client = cluster.client()
    client.ask("m")
    running = loaded(first, "m")
    client.ask("n")
    cluster.pass_time(60)
    assert not first.tasks() and not second.tasks() and not client.errors()
    first.answer(running)
    cluster.pass_time(0.2)
    assert first.task().HasField("unload")


def test_leader_that_keeps_its_group_for_another_head_is_asked_again_later(cluster):
    first, second = two_models(cluster)
    client = cluster.client()
    client.ask("m")
    first.answer(loaded(first, "m"))
    client.ask("n")
    assert first.task().HasField("unload")
    cluster.pass_time(5)
    assert not first.tasks()
    cluster.pass_time(10)
    assert [task.HasField("unload") for task in first.tasks()] == [True]
    assert not second.tasks() and not client.errors()


def three_groups(cluster):
    """Workers of which three lead groups of two, in the order of their last tasks; and a client."""
    client = cluster.client()
    leads = []
    for number in range(3):
        tags = [f"{number}"]
        lead = lender(cluster, f"lead{number}", takes=6, tags=[*tags, "all"])
        lead.heartbeat.models[0].name = f"m{number}"
        lead.beat()
        lender(cluster, f"member{number}", takes=0, tags=[*tags, "all"])
        client.ask(f"m{number}", tags=tags)
        lead.answer(loaded(lead, f"m{number}"))
        leads.append(lead)
        cluster.pass_time(1)
    return leads, client


def test_least_recently_used_group_ends_first(cluster):
    leads, client = three_groups(cluster)
    client.ask("m0", tags=["0"])
    leads[0].answer(leads[0].task())
    cluster.pass_time(1)
    other = lender(cluster, "other", takes=6, tags=["all"])
    other.heartbeat.models[0].name = "n"
    other.beat()
    client.ask("n", tags=["all"])
    assert leads[1].task().HasField("unload")
    assert not leads[0].tasks() and not leads[2].tasks()


def test_group_that_is_not_in_the_way_stays(cluster):
    leads, client = three_groups(cluster)
    leads[2].heartbeat.models.add(name="n", state=pb.AVAILABLE, needs=6 * GIB)
    leads[2].beat()
    client.ask("n", tags=["2"])
    assert leads[2].task().HasField("unload")
    assert not leads[0].tasks() and not leads[1].tasks()


def test_group_of_another_head_ends_too(cluster):
    first, second = two_models(cluster)
    client = cluster.client()
    client.ask("m")
    first.answer(loaded(first, "m"))
    cluster.restart_head()
    for worker in list(cluster.members.values()):
        if worker is not client:
            worker.beat()
    cluster.now += 10
    cluster.client().ask("n")
    assert first.task().HasField("unload")
    assert not second.tasks()


def test_lender_of_one_group_is_no_member_of_another(cluster):
    lead = lender(cluster, "lead", takes=6, lends=1)
    lender(cluster, "large", ram=32, takes=0)
    other = lender(cluster, "other", takes=6, lends=1)
    other.heartbeat.models[0].name = "n"
    other.beat()
    client = cluster.client()
    client.ask("m")
    running = loaded(lead, "m")
    assert members(running) == ["large"]
    client.ask("n")
    cluster.pass_time(20)
    assert not other.tasks() and not client.errors()


def test_lender_of_another_head_s_group_gets_no_second_leader(cluster):
    lead = lender(cluster, "lead", takes=6, lends=1)
    lender(cluster, "large", ram=32, takes=0)
    other = lender(cluster, "other", takes=6, lends=1)
    other.heartbeat.models[0].name = "n"
    other.beat()
    client = cluster.client()
    client.ask("m")
    lead.answer(loaded(lead, "m"))
    cluster.restart_head()
    for worker in list(cluster.members.values()):
        if worker is not client:
            worker.beat()
    cluster.now += 10
    cluster.client().ask("n")
    assert lead.task().HasField("unload")
    assert not other.tasks()


def test_no_client_takes_models_out_of_memory(cluster):
    lead, _, _ = three(cluster)
    client = cluster.client()
    client.ask("m", unload=pb.UnloadTask(), text=None)
    assert client.error().code == pb.BAD_REQUEST
    assert not lead.tasks()


# ----------------------------------------------------------------- downloading

REPOSITORY = "owner/model:Q4_K_M"


def downloader(cluster, name, **fields):
    return lender(cluster, name, takes=0, can_download=True, **fields)


def looked_up(worker, task, takes=10, keeps=1, *, crossed=False):
    """Let `worker` say that the model of `task` is too large for it, and how large."""
    assert not task.shards.members
    worker.heartbeat.models.add(
        name=REPOSITORY, state=pb.FAILED, needs=takes * GIB, lead_needs=keeps * GIB
    )
    if not crossed:
        worker.beat()
    worker.fail(task, pb.OUT_OF_MEMORY, "too large for one")
    worker.beat()


@pytest.mark.parametrize("crossed", [False, True])
def test_model_that_nobody_has_is_downloaded_by_the_one_that_leads(cluster, crossed):
    lead = downloader(cluster, "lead")
    second, third = (lender(cluster, name, takes=0) for name in ("second", "third"))
    client = cluster.client()
    client.ask(REPOSITORY)
    looked_up(lead, lead.task(), crossed=crossed)
    cluster.pass_time(0.2)
    task = lead.task()
    assert members(task) == ["second", "third"]
    assert task.shards.bytes > GIB
    assert not second.tasks() and not third.tasks() and not client.errors()


def test_better_lead_downloads_what_another_has_looked_up(cluster):
    asked = downloader(cluster, "a")
    client = cluster.client()
    client.ask(REPOSITORY)
    task = asked.task()
    better = gpu(cluster, "gpu", 6, takes=0, can_download=True)
    lender(cluster, "third", takes=0)
    looked_up(asked, task)
    assert members(better.task()) == ["a", "third"]
    assert not asked.tasks()


def test_later_tasks_join_while_the_lead_downloads(cluster):
    lead = downloader(cluster, "lead")
    lender(cluster, "second", ram=8, takes=0)
    client = cluster.client()
    client.ask(REPOSITORY)
    looked_up(lead, lead.task())
    task = lead.task()
    lead.heartbeat.models[0].state = pb.DOWNLOADING
    lead.beat()
    cluster.pass_time(30)
    client.ask(REPOSITORY)
    assert lead.task().shards == task.shards


def test_model_that_is_downloaded_already_is_led_by_who_has_it(cluster):
    asked = downloader(cluster, "a", ram=6)
    client = cluster.client()
    client.ask(REPOSITORY)
    task = asked.task()
    has = lender(cluster, "z", ram=6)
    has.heartbeat.models[0].name = REPOSITORY
    has.beat()
    looked_up(asked, task)
    assert members(has.task()) == ["a"]


def test_model_that_all_together_cannot_hold_is_refused_in_the_worker_s_words(cluster):
    lead = downloader(cluster, "lead")
    client = cluster.client()
    client.ask(REPOSITORY)
    looked_up(lead, lead.task())
    cluster.pass_time(11)
    error = client.error()
    assert (error.code, error.message) == (pb.OUT_OF_MEMORY, "too large for one")
    assert not lead.tasks()


# ------------------------------------------------------------------- reforming


def answered_in_part(cluster, client):
    workers = {name: lender(cluster, name, takes=0) for name in ("second", "third", "fourth")}
    lead = lender(cluster, "lead")
    client.ask(stream=True)
    task = lead.task()
    lead.answer(task, 0, text="0 ", tokens=[7], final=False)
    lost = members(task)[0]
    return lead, workers, workers[lost], task


def goes_on(lead, lost, task):
    again = lead.task()
    assert lost.heartbeat.worker_id not in members(again)
    assert len(again.shards.members) == len(task.shards.members)
    assert list(again.resume.tokens) == [7]
    assert again.resume.index == 1
    return again


@pytest.mark.parametrize("way", ["silent", "stopped", "unreachable", "restarted"])
def test_group_forms_again_without_a_member_that_is_gone(cluster, way):
    client = cluster.client()
    lead, _, lost, task = answered_in_part(cluster, client)
    if way == "silent":
        lost.alive = False
        cluster.pass_time(11)
    elif way == "stopped":
        lost.say(state=pb.STOPPED)
    elif way == "unreachable":
        lost.unreachable()
    else:
        lost.heartbeat.ClearField("shard")
        lost.restart()
    assert lead.cancelled() == [task.id]
    again = goes_on(lead, lost, task)
    lead.answer(again, 1, text="1", tokens=[8])
    assert "".join(part.text for part in client.results()) == "0 1"


def test_lead_says_which_member_is_gone_and_gets_the_task_again_without_it(cluster):
    client = cluster.client()
    lead, _, lost, task = answered_in_part(cluster, client)
    name = lost.heartbeat.worker_id
    lead.fail(task, pb.WORKER_LOST, f"{name} no longer answers at 192.0.2.7:1")
    goes_on(lead, lost, task)


def test_member_that_was_set_aside_is_taken_again_later(cluster):
    lead, _, _ = three(cluster)
    client = cluster.client()
    client.ask()
    lead.fail(lead.task(), pb.WORKER_LOST, "second is not reached at 192.0.2.7:1")
    cluster.pass_time(5)
    assert not lead.tasks() and not client.errors()
    cluster.pass_time(10)
    assert members(lead.task()) == ["second", "third"]


def test_another_leads_when_the_lead_is_gone(cluster):
    lead, second, third = three(cluster)
    second.heartbeat.models.append(pb.ModelStatus(name="m", state=pb.AVAILABLE, needs=10 * GIB))
    second.beat()
    fourth = lender(cluster, "fourth", takes=0)
    client = cluster.client()
    client.ask()
    first, other = (lead, second) if lead.inbox else (second, lead)
    task = next(task for task in first.tasks())
    first.answer(task, 0, text="0 ", tokens=[7], final=False)
    first.say(state=pb.STOPPED)
    again = other.task()
    assert first.heartbeat.worker_id not in members(again)
    assert list(again.resume.tokens) == [7]
    assert not fourth.tasks() and not third.tasks()


def test_head_takes_over_a_group_that_was_formed_before_its_start(cluster):
    lead, second, _ = three(cluster)
    lender(cluster, "a-nearer", ram=8, takes=0)
    cluster.restart_head()
    for worker in cluster.members.copy().values():
        worker.beat()
    holds(lead, ("lead", 3 * GIB), ("second", 3 * GIB), ("third", 4 * GIB))
    cluster.client().ask()
    plan = lead.task().shards
    assert [(member.worker_id, member.bytes) for member in plan.members] == [
        ("second", 3 * GIB),
        ("third", 4 * GIB),
    ]
    assert plan.members[0].address == second.heartbeat.shard.address


def test_memory_of_a_group_that_has_left_is_lent_again(cluster):
    lead, second, _ = three(cluster)
    second.heartbeat.models.append(pb.ModelStatus(name="n", state=pb.AVAILABLE, needs=10 * GIB))
    second.beat()
    client = cluster.client()
    client.ask("m")
    lead.answer(lead.task())
    lead.beat()
    client.ask("n")
    cluster.pass_time(1)
    assert not second.tasks() and not client.errors()
    cluster.pass_time(4)
    assert members(second.task()) == ["lead", "third"]


# -------------------------------------------------------------------- too large


def test_model_that_fits_nowhere_even_together_is_refused_with_what_there_is(cluster):
    lender(cluster, "lead", takes=40)
    lender(cluster, "second", ram=6, takes=0)
    client = cluster.client()
    client.ask()
    error = client.error()
    assert error.code == pb.OUT_OF_MEMORY
    assert error.message == (
        "m takes 40.0 GiB; second has most, 6.0 GiB, and all that lend memory have 10.0 GiB "
        "for others"
    )
    assert "shard = true" in error.remedy


def test_model_too_large_where_nobody_lends_is_refused(cluster):
    cluster.worker(
        models=[pb.ModelStatus(name="m", state=pb.AVAILABLE, needs=3 * GIB // 2)],
        ram=pb.Memory(total=GIB, free=GIB),
    )
    client = cluster.client()
    client.ask()
    assert client.error().message == (
        "m takes 1.5 GiB; w has most, 1.0 GiB, and none lends memory to others"
    )


def test_task_that_was_begun_ends_when_what_is_left_is_too_little(cluster):
    lead, second, _ = three(cluster)
    client = cluster.client()
    client.ask()
    lead.answer(lead.task(), 0, text="0", tokens=[7], final=False)
    second.say(state=pb.STOPPED)
    cluster.pass_time(11)
    assert client.error().code == pb.OUT_OF_MEMORY
