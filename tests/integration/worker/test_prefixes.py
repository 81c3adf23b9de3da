"""Chats through a gateway go on where real workers have read them, with either head."""

import asyncio
from pathlib import Path

from daiic.client import ClusterClient
from support.processes.gateway_process import gateway_process
from support.processes.heads import Head
from support.processes.real_cluster import CHAT

MODELS = Path(__file__).parents[3] / "local-models"
HISTORY = "The quick brown fox jumps over the lazy dog, and the dog does not mind. " * 20
CHATS = ("one", "two")
BLOCK = 32
"""Tokens that are shared as a whole or not at all."""


async def test_chats_go_on_where_they_were_read_and_read_only_what_is_new(each_head: Head, start):
    head = start("head")
    for _ in CHATS:
        worker = start(
            "worker", heads=[head.address], models_dir=MODELS, models=[CHAT], slots=1, threads=1
        )
        worker.said("serving")
    await head.wait_for_workers(len(CHATS))
    async with gateway_process(f"--heads={head.address}") as gateway:
        await gateway.ready()
        client = gateway.openai
        async with ClusterClient([head.address]) as cluster:
            told = [
                model.cache_tokens
                for worker in (await cluster.status()).workers
                for model in worker.heartbeat.models
                if model.name == CHAT
            ]
        assert len(told) == len(CHATS)
        assert all(tokens >= 1024 and tokens % BLOCK == 0 for tokens in told)
        chats = {name: [{"role": "user", "content": f"{name} {HISTORY}"}] for name in CHATS}

        async def turn(name: str) -> tuple[int, int]:
            """Let a chat go on; return the tokens of its prompt, and those read before."""
            said = await client.chat.completions.create(
                model=CHAT, messages=chats[name], max_completion_tokens=8, temperature=0
            )
            chats[name] += [
                {"role": "assistant", "content": said.choices[0].message.content},
                {"role": "user", "content": "And then?"},
            ]
            usage = said.usage
            return usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens

        # A worker has one slot, so that each gets one of the chats that begin together.
        began = await asyncio.gather(*map(turn, CHATS))
        assert [cached for _, cached in began] == [0, 0]
        before = {name: prompt for name, (prompt, _) in zip(CHATS, began, strict=True)}
        for name in [*CHATS, *reversed(CHATS), *CHATS]:
            prompt, cached = await turn(name)
            assert cached > before[name] - 2 * BLOCK, name
            before[name] = prompt
