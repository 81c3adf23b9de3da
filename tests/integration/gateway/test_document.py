"""docs/gateway.md and the README are true: examples run, settings and metrics exist."""

import asyncio
import json
import re
import sys
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from daiic.gateway.monitoring.activity import ActivityLog
from daiic.gateway.monitoring.cards import CardCollector
from daiic.gateway.monitoring.cluster_view import ClusterView
from daiic.gateway.settings import GatewaySettings
from daiic.gateway.usage.ledger import Ledger
from daiic.gateway.usage.store import UsageStore
from support.peers.scripted_head import PNG
from support.processes.gateway_process import RunningGateway

DOCUMENT = Path(__file__).parents[3] / "docs" / "gateway.md"
DASHBOARD = DOCUMENT.parent / "grafana" / "gateway.json"
TEXT = DOCUMENT.read_text()
README = (DOCUMENT.parents[1] / "README.md").read_text()
ADDRESS = "http://127.0.0.1:7700"


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


async def output_of(*command: str, folder: Path | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=folder
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


@pytest.mark.parametrize("example", blocks("sh", TEXT + README))
async def test_each_curl_example_runs(
    gateway: RunningGateway, example: str, tmp_path: Path
) -> None:
    assert ADDRESS in example
    for file in re.findall(r"=@([\w.]+)", example):
        (tmp_path / file).write_bytes(PNG)
    command = example.replace(ADDRESS, gateway.url)
    answer = await output_of("sh", "-c", command, folder=tmp_path)
    if '"stream": true' in example:
        assert answer.endswith("data: [DONE]\n\n")
    else:
        told = json.loads(answer)
        assert not told.get("error")
        names = ("data", "choices", "content", "message", "output", "results", "text")
        assert any(told.get(name) for name in names)


@pytest.mark.parametrize("example", blocks("python", TEXT + README))
async def test_each_python_example_runs(gateway: RunningGateway, example: str) -> None:
    assert ADDRESS in example
    said = await output_of(sys.executable, "-c", example.replace(ADDRESS, gateway.url))
    assert said == re.search(r'"content": "(.+)"', example)[1]


def test_the_settings_are_those_that_exist() -> None:
    table = TEXT.partition("## Settings")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", table, re.MULTILINE))
    for field in msgspec.structs.fields(GatewaySettings):
        default = json.loads(msgspec.json.encode(getattr(GatewaySettings(), field.name)))
        assert json.loads(rows.pop(field.name)) == default
    assert not rows


def test_documented_metrics_exist() -> None:
    registry = CollectorRegistry()
    view = ClusterView(None)
    ActivityLog(registry, view)
    Ledger(UsageStore("", 1), view, registry)
    registry.register(CardCollector(view))
    exist = {sample.name for metric in registry.collect() for sample in metric.samples}
    exist |= {metric.name for metric in registry.collect()}
    exist |= {f"{metric.name}_total" for metric in registry.collect() if metric.type == "counter"}
    exist |= {
        f"{metric.name}{suffix}"
        for metric in registry.collect()
        if metric.type == "histogram"
        for suffix in ("", "_bucket")
    }
    in_document = set(re.findall(r"\bdaiic_gateway_\w+", TEXT))
    in_dashboard = set(re.findall(r"\bdaiic_gateway_\w+", DASHBOARD.read_text()))
    assert len(in_document) > 8 and len(in_dashboard) > 8
    assert in_document - exist == set()
    assert in_dashboard - exist == set()
