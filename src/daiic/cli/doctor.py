"""`daiic doctor`: what keeps this machine from being part of a cluster, and what to do."""

import asyncio
import dataclasses

import typer
from rich.table import Table
from rich.text import Text

from daiic.cli.cluster_checks import check_head, check_key, check_ports, check_token
from daiic.cli.connection import (
    DEFAULT_HEAD,
    HeadOption,
    InsecureOption,
    JsonOption,
    KeyOption,
    Target,
)
from daiic.cli.exits import FAILED, err, out, write_json
from daiic.cli.findings import Finding
from daiic.cli.machine_checks import check_machine, gpu_vendors
from daiic.cli.nix_cache_checks import check_nix_caches
from daiic.cli.torch_checks import check_torch
from daiic.shown import MESSAGE, shown_text

MARKS = {
    "ok": "[green]ok[/]",
    "note": "[cyan]note[/]",
    "warning": "[yellow]warning[/]",
    "problem": "[bold red]problem[/]",
}


def doctor(
    as_json: JsonOption = False,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
) -> None:
    """Check drivers, torch, Nix's caches, token, key, ports, head and clock, and say what to fix.

    The exit status is 1 if there is a problem.
    """
    with err.status("checking"):
        findings = asyncio.run(_look(Target(head, key_file, allow_unauthenticated)))
    if as_json:
        write_json([dataclasses.asdict(finding) for finding in findings], indent=2)
    else:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for finding in findings:
            says = Text(shown_text(finding.says, MESSAGE))
            table.add_row(MARKS[finding.level], finding.subject, says)
            if finding.advice:
                table.add_row("", "", Text(shown_text(finding.advice, MESSAGE), "dim"))
        out.print(table)
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(FAILED)


async def _look(target: Target) -> list[Finding]:
    vendors = gpu_vendors()
    findings = [*check_machine(), check_torch(vendors), *check_nix_caches(vendors)]
    findings += [check_token(), check_key(target.key_file), *check_ports()]
    async for finding in check_head(target):
        findings.append(finding)
    return findings
