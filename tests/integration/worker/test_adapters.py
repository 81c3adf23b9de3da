"""Adapters change the texts that name them, as PEFT does, and no others in their batch."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.answer import answer
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.loading import EngineLoader
from daiic.worker.engines.transformers_text import adapted_cache, adapters, choice
from daiic.worker.memory.manager import ModelManager
from daiic.worker.memory.meter import MemoryMeter
from daiic.worker.models.catalog import Catalog
from support.models.tiny_adapters import adapter, greedy
from support.models.tiny_models import language_model
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

PROMPT = "hello there, this is a text of more than one block of the cache, and so it is shared"
MADE = 24
SHIPPED = Path(__file__).parents[3] / "local-models" / "daiic-tiny-chat"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    tiny = language_model(folder / "tiny")
    adapter(tiny, "odd", seed=1)
    adapter(tiny, "even", seed=2, r=2, lora_alpha=3, use_rslora=True, target_modules=["o_proj"])
    return folder


@contextlib.asynccontextmanager
async def worker(models: Path, slots: int = 6) -> AsyncIterator[ModelManager]:
    cpu = backend.choose("cpu")
    manager = ModelManager(
        Catalog(models, models.parent / "cache"),
        MemoryMeter(cpu),
        EngineLoader(LoadOptions(cpu, precision="float32", slots=slots)),
        None,
        ram_offload=True,
    )
    await manager.rescan()
    try:
        yield manager
    finally:
        await manager.close()


def asks(*adapters: str, prompt: str = PROMPT, **fields: Any) -> pb.Task:
    text = pb.TextTask(prompt=prompt, max_tokens=MADE, temperature=0)
    task = pb.Task(model="tiny", stream=True, text=text, **fields)
    for name in adapters:
        task.adapters.add(name=name)
    return task


async def parts_of(manager: ModelManager, task: pb.Task) -> list[pb.Result]:
    return [part async for part in answer(manager, task) if not part.HasField("progress")]


def tokens(parts: list[pb.Result]) -> list[int]:
    return [token for part in parts for token in part.tokens]


async def made(manager: ModelManager, *adapters: str, **fields: Any) -> list[int]:
    return tokens(await parts_of(manager, asks(*adapters, **fields)))


def expected(models: Path, name: str | None) -> list[int]:
    """Return what PEFT says; a model of random weights ends no text."""
    prompt = AutoTokenizer.from_pretrained(models / "tiny")(PROMPT).input_ids
    folder = models / "tiny.adapters" / name if name else None
    return greedy(models / "tiny", folder, prompt, MADE)


@pytest.mark.parametrize("in_turns", [False, True])
async def test_texts_with_different_adapters_and_none_share_a_batch(
    models: Path, in_turns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_turns:
        monkeypatch.setattr(choice, "_obstacle", lambda model: "a test")
    alone = {name: expected(models, name) for name in (None, "odd", "even")}
    assert len({tuple(said) for said in alone.values()}) == 3
    async with worker(models) as manager:
        order = [None, "odd", "even", "odd", None, "even"]
        said = await asyncio.gather(*(made(manager, *filter(None, [name])) for name in order))
        for name, one in zip(order, said, strict=True):
            # A text may end before: PEFT was told to go on.
            assert one and one == alone[name][: len(one)]
        status = manager.table.get("tiny").status()
        assert list(status.adapters) == ["even", "odd"] and pb.ADAPTERS in status.capabilities


async def test_texts_share_cached_keys_with_their_own_adapters_only(models: Path) -> None:
    async with worker(models) as manager:
        first = {}
        for name in ("odd", "even", ""):
            last = (await parts_of(manager, asks(*filter(None, [name]))))[-1]
            assert last.usage.cached_tokens == 0
            first[name] = await made(manager, *filter(None, [name]))
            last = (await parts_of(manager, asks(*filter(None, [name]))))[-1]
            assert last.usage.cached_tokens >= 32
        assert first[""] == expected(models, None)[: len(first[""])]
        assert first["even"] == expected(models, "even")[: len(first["even"])]


async def test_scales_beyond_what_can_be_told_apart_share_nothing(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (adapted_cache, adapters):
        monkeypatch.setattr(module, "MOST", 1)
    async with worker(models) as manager:
        said = [await made(manager, name) for name in ("odd", "even", "odd", "even")]
        assert said[0] == said[2] == expected(models, "odd")[: len(said[0])]
        assert said[1] == said[3] == expected(models, "even")[: len(said[1])]
        last = (await parts_of(manager, asks("even")))[-1]
        assert last.usage.cached_tokens == 0


async def test_a_scale_and_several_adapters_count(models: Path) -> None:
    async with worker(models) as manager:
        plain, odd = await made(manager), await made(manager, "odd")
        off = asks("odd")
        off.adapters[0].scale = 0.0
        assert tokens(await parts_of(manager, off)) == plain
        both = await made(manager, "odd", "even")
        assert both == await made(manager, "even", "odd") and both not in (plain, odd)
        double = asks("odd")
        double.adapters[0].scale = 2.0
        twice, alone = await asyncio.gather(made(manager, "odd", "odd"), made(manager))
        assert twice == tokens(await parts_of(manager, double)) != odd and alone == plain


async def test_an_answer_that_moves_goes_on_with_the_same_adapter_only(
    models: Path, tmp_path: Path
) -> None:
    async with worker(models) as first:
        whole = await parts_of(first, asks("odd"))
        plain = await parts_of(first, asks())
    assert whole[0].model.weights != plain[0].model.weights
    begun = whole[:3]
    resume = pb.Resume(
        tokens=tokens(begun),
        text="".join(part.text for part in begun),
        index=len(begun),
        model=begun[0].model,
    )
    copied = tmp_path / "models"
    shutil.copytree(models, copied)
    async with worker(copied) as second:
        rest = await parts_of(second, asks("odd", resume=resume))
        assert not rest[0].started_over
        assert tokens(begun) + tokens(rest) == tokens(whole)
    adapter(copied / "tiny", "odd", seed=9)
    async with worker(copied) as third:
        again = await parts_of(third, asks("odd", resume=resume))
        assert again[0].started_over and tokens(again) != tokens(whole)


async def test_embeddings_and_unknown_adapters_are_refused(models: Path) -> None:
    async with worker(models) as manager:
        with pytest.raises(TaskError, match="it has: even, odd") as missing:
            await made(manager, "neither")
        assert missing.value.code == pb.MODEL_NOT_FOUND
        embed = pb.Task(model="tiny", embed=pb.EmbedTask(inputs=["a"]))
        embed.adapters.add(name="odd")
        with pytest.raises(TaskError, match="without its adapters"):
            await parts_of(manager, embed)
        with pytest.raises(TaskError, match="33 adapters"):
            await made(manager, *["odd"] * 33)
        nan = asks("odd")
        nan.adapters[0].scale = float("nan")
        with pytest.raises(TaskError, match="send a number"):
            await parts_of(manager, nan)


def config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def written(file: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).write_bytes(content)

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        file = folder / "adapter_model.safetensors"
        tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
        change(tensors)
        save_file(tensors, file)

    return changed


def renamed(old: str, new: str) -> Callable[[dict[str, torch.Tensor]], object]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[name.replace(old, new)] = tensors.pop(name)

    return change


def with_first(value: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = sorted(tensors)[0]
        tensors[name] = value(tensors[name]).contiguous()

    return change


def linked_out(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    outside = folder.parents[2] / "outside.safetensors"
    shutil.move(file, outside)
    file.symlink_to(outside)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "kind": config(peft_type="IA3"),
    "dora": config(use_dora=True),
    "unheard of": config(runs_code="os.system"),
    "saved modules": config(modules_to_save=["lm_head"]),
    "bias": config(bias="all"),
    "changes the base": config(init_lora_weights="pissa"),
    "alpha": config(lora_alpha="8"),
    "endless alpha": config(lora_alpha=1e300),
    "pattern": config(alpha_pattern={"(a+)+$": 5}),
    "no JSON": lambda folder: (folder / "adapter_config.json").write_text("{") and None,
    "no object": lambda folder: (folder / "adapter_config.json").write_text("[]") and None,
    "cut off": lambda folder: (
        (folder / "adapter_model.safetensors").write_bytes(b"\0" * 9) and None
    ),
    "another model": weights(renamed("layers.0", "layers.77")),
    "another part": weights(renamed("self_attn.q_proj", "lm_head")),
    "half": weights(lambda tensors: tensors.pop(sorted(tensors)[0])),
    "nothing": weights(lambda tensors: tensors.clear()),
    "strange": weights(renamed("lora_A", "lora_magnitude_vector")),
    "rank": weights(with_first(lambda tensor: torch.zeros(4096, tensor.shape[1]))),
    "shape": weights(with_first(lambda tensor: tensor[:, :-1])),
    "vector": weights(with_first(lambda tensor: tensor.flatten())),
    "integers": weights(with_first(lambda tensor: tensor.to(torch.int32))),
    "not finite": weights(with_first(lambda tensor: tensor * torch.nan)),
    "link": linked_out,
}


async def test_adapters_that_cannot_be_used_are_left_out(models: Path, tmp_path: Path) -> None:
    own = tmp_path / "models"
    shutil.copytree(models, own)
    odd = own / "tiny.adapters" / "odd"
    for number, spoil in enumerate(HOSTILE.values()):
        spoilt = odd.with_name(f"bad-{number}")
        shutil.copytree(odd, spoilt)
        spoil(spoilt)
    async with worker(own) as manager:
        assert (
            await made(manager, "odd") == expected(models, "odd")[: len(await made(manager, "odd"))]
        )
        status = manager.table.get("tiny").status()
        assert list(status.adapters) == ["even", "odd"]
        refusals = {}
        for number, name in enumerate(HOSTILE):
            with pytest.raises(TaskError) as refusal:
                await made(manager, f"bad-{number}")
            refusals[name] = refusal.value
    assert all(error.code in (pb.BAD_REQUEST, pb.MODEL_NOT_FOUND) for error in refusals.values())
    assert "(a+)+$" in refusals["pattern"].message
    assert "layers.77" in refusals["another model"].message
    assert "rank 4096" in refusals["rank"].message


def test_a_folder_of_adapters_is_no_model(models: Path) -> None:
    catalog = Catalog(models, models.parent / "cache")
    scanned = catalog.scan()
    assert [model.name for model in scanned] == ["tiny"] and not catalog.unusable
    assert scanned[0].adapters == ("even", "odd")


async def test_an_answer_goes_on_with_its_adapter_when_its_worker_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(SHIPPED, folder / "tiny")
    adapter(folder / "tiny", "odd", std=0.05)
    async with HeadProcess() as head, contextlib.AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(
                WorkerProcess(
                    heads=head.address,
                    models=["tiny"],
                    models_dir=folder,
                    state_dir=tmp_path / name,
                    allow_downloads=False,
                    slots=4,
                )
            )
            for name in ("one", "other")
        ]
        client = await stack.enter_async_context(ClusterClient([head.address]))
        async with asyncio.timeout(PATIENCE):
            while len(await loaded_with(client, "odd")) < 2:
                await asyncio.sleep(0.1)
        text = pb.TextTask(prompt="Once upon a time", max_tokens=300, temperature=0.7, seed=3)
        task = pb.Task(model="tiny", stream=True, text=text)
        plain = await client.answer(task)
        task.adapters.add(name="odd")
        undisturbed = await client.answer(task)
        assert undisturbed.tokens != plain.tokens
        parts: list[pb.Result] = []
        async for part in client.run(task):
            parts.append(part)
            if len(parts) == 3:
                await next(one for one in workers if one.worker_id == part.worker_id).kill()
        assert len({part.worker_id for part in parts}) == 2
        assert not any(part.started_over for part in parts)
        assert tokens(parts) == list(undisturbed.tokens)


async def loaded_with(client: ClusterClient, name: str) -> list[pb.ModelStatus]:
    return [
        model
        for worker in (await client.status()).workers
        for model in worker.heartbeat.models
        if model.state == pb.LOADED and name in model.adapters
    ]
