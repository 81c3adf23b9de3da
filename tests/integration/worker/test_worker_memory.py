"""Models that take turns in a real worker's memory."""

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb

ROOM_FOR_ONE = 256 << 20
"""Bytes that any model is expected to need for its work alone."""


async def test_models_take_turns_where_there_is_room_for_one(start, models_dir):
    head = start("head")
    worker = start(
        "worker",
        heads=[head.address],
        models_dir=models_dir,
        quantization="none",
        ram_limit=ROOM_FOR_ONE,
    )
    worker.said("serving")
    text = pb.Task(model="tiny", text=pb.TextTask(prompt="go", seed=1, max_tokens=20))
    embed = pb.Task(model="sentences", embed=pb.EmbedTask(inputs=["a fox"]))
    async with ClusterClient([head.address]) as client:
        answers = [await client.answer(task) for task in (text, embed, text, embed)]
    assert answers[0].text == answers[2].text and answers[0].text
    assert answers[1].embeddings == answers[3].embeddings and answers[1].embeddings
    left = [line for line in worker.log.splitlines() if "unloaded to free memory" in line]
    assert [line.split("model=")[1] for line in left] == ["tiny", "sentences", "tiny"]


async def test_an_idle_model_leaves_and_the_next_task_brings_it_back(start, models_dir):
    head = start("head")
    worker = start(
        "worker", heads=[head.address], models_dir=models_dir, idle_unload=0.5, models=["sentences"]
    )
    worker.said("serving")
    task = pb.Task(model="tiny", text=pb.TextTask(prompt="go", seed=1, max_tokens=20))
    async with ClusterClient([head.address]) as client:
        first = await client.answer(task)
        worker.said("idle model unloaded")
        again = await client.answer(task)
    assert first.text == again.text and first.text
    left = [line for line in worker.log.splitlines() if "idle model unloaded" in line]
    assert {line.split("model=")[1].split()[0] for line in left} == {"tiny"}
