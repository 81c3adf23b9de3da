"""A head's metrics have the graphics cards of all workers, whatever those are called."""

import asyncio

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import WorkerStub
from support.processes.head_process import HeadProcess


async def test_figures_of_each_card_are_told_under_names_that_can_be_read() -> None:
    async with HeadProcess() as head:
        stub = await WorkerStub.open([head.address])
        stub.heartbeat.name = 'north "one"\n\\ \u202e\x1b[31m'
        stub.heartbeat.cards.add(
            name="RTX 3090" * 20,
            vram=pb.Memory(total=24 << 30, free=18 << 30),
            temperature=61.5,
            power=240.25,
            power_limit=350,
            load=0.97,
        )
        stub.heartbeat.cards.add(name="another", temperature=-5)
        stub.say()
        await head.wait_for_workers(1)
        async with asyncio.timeout(30):
            while (
                "card_load" not in (text := (await head.get("/metrics"))[1])
                or "{"
                not in (
                    text.partition("daiic_head_card_load_ratio Share")[2].partition("# HELP")[0]
                )
            ):
                await asyncio.sleep(0.05)
        samples = [
            sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("daiic_head_card_")
        ]
        await stub.close()
    assert {sample.labels["worker"] for sample in samples} == {"stub"}
    (told,) = {sample.labels["worker_name"] for sample in samples}
    assert told == 'north "one"\\x0a\\ \\u202e\\x1b[31m'
    assert max(len(sample.labels["name"]) for sample in samples) == 64
    values = {
        (
            sample.name.removeprefix("daiic_head_card_"),
            sample.labels["card"],
            sample.labels.get("amount"),
        ): sample.value
        for sample in samples
    }
    assert values == {
        ("memory_bytes", "0", "total"): 24 << 30,
        ("memory_bytes", "0", "free"): 18 << 30,
        ("temperature_celsius", "0", None): 61.5,
        ("temperature_celsius", "1", None): -5,
        ("power_watts", "0", None): 240.25,
        ("power_limit_watts", "0", None): 350,
        ("load_ratio", "0", None): pytest.approx(0.97),
    }
