"""Writes mesh.json, the test vectors of DCF's mesh (docs/cluster.md, DCF's mesh).

It follows the text and nothing else, in the plainest way: paths are found by trying all. The same
vectors come out every time; `python tests/vectors/generate_mesh.py` rewrites the file.
"""

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("mesh.json")
ABOUT = (
    "Test vectors of DCF's mesh (docs/cluster.md). Bytes are in hex; those with `drop` are no "
    "REPORT. In `health`, `answers` are the latest probes, the oldest first. A neighbour is [id, "
    "health, ms]. Of `meshes`, `self` is a node in any case, `edges` are [id, id, ms], and `paths` "
    "are those from `self`: [id, ms, way]. Routes are [first, health, ms]. Written by "
    "tests/vectors/generate_mesh.py."
)
HEALTHY, DEGRADED, UNREACHABLE = 0, 1, 2
LEAF, RELAY, MASTER = 0, 1, 2
ISOLATED = -1
WINDOW, FAIL, OK = 5, 3, 2
THRESHOLD = 50
MESHES = 40
SEED = 11

Neighbour = tuple[int, int, int]
Reports = list[tuple[int, list[Neighbour]]]
Edges = dict[tuple[int, int], int]


def report(node: int, neighbours: list[Neighbour]) -> bytes:
    entries = b"".join(struct.pack(">HBH", *neighbour) for neighbour in neighbours)
    return struct.pack(">BBHB", 0, 1, node, len(neighbours)) + entries


def role(node: int, number: int, master: int) -> bytes:
    return struct.pack(">BBHBH", 1, 1, node, number, master)


def health(answers: list[bool]) -> int:
    state = HEALTHY
    for at in range(len(answers)):
        seen = answers[: at + 1]
        if seen[-FAIL:] == [False] * FAIL:
            state = UNREACHABLE
        elif state != UNREACHABLE or seen[-OK:] == [True] * OK:
            state = HEALTHY if seen[-1] else DEGRADED
    return state


def group(ms: int, state: int) -> int:
    return ISOLATED if state == UNREACHABLE else ms // THRESHOLD


def joined(own: int, reports: Reports) -> tuple[list[int], Edges]:
    nodes, edges = {own}, Edges()
    for node, neighbours in reports:
        nodes |= {node, *(other for other, _, _ in neighbours)}
        for other, state, ms in neighbours:
            if state != UNREACHABLE and other != node:
                pair = min(node, other), max(node, other)
                edges[pair] = min(ms, edges.get(pair, ms))
    return sorted(nodes), edges


def elect(nodes: list[int], edges: Edges) -> tuple[int, list[int]]:
    times = {node: [ms for pair, ms in edges.items() if node in pair] for node in nodes}
    mean = {node: sum(of) // len(of) if of else 0 for node, of in times.items()}
    master = min(nodes, key=lambda node: (-len(times[node]), mean[node], node))
    roles = [MASTER if n == master else RELAY if len(times[n]) > 1 else LEAF for n in nodes]
    return master, roles


def ways(at: int, to: int, edges: Edges, past: tuple[int, ...]) -> Iterator[tuple[int, list[int]]]:
    """Yield each path that visits no node twice: its time, and the nodes after the first."""
    if at == to:
        yield 0, []
        return
    for pair, ms in edges.items():
        if at in pair:
            following = pair[0] if pair[1] == at else pair[1]
            if following not in past:
                for more, way in ways(following, to, edges, (*past, following)):
                    yield ms + more, [following, *way]


def shortest(own: int, to: int, edges: Edges) -> tuple[int, list[int]] | None:
    """Return the shortest; of several that with the lesser node before the last, and so back."""
    found = [(ms, way) for ms, way in ways(own, to, edges, (own,))]
    return min(found, key=lambda one: (one[0], [*reversed(one[1])]), default=None)


def failover(routes: list[tuple[int, int, int]]) -> list[int]:
    usable = [(state, ms, first) for first, state, ms in routes if state != UNREACHABLE]
    return [first for _, _, first in sorted(usable)]


def meshes() -> Iterator[dict[str, Any]]:
    dice = random.Random(SEED)
    for _ in range(MESHES):
        own = dice.randrange(6)
        reports: Reports = []
        for _ in range(dice.randrange(6)):
            # Times above 0: over a way that takes none, two paths could each be said to be first.
            neighbours = [
                (dice.randrange(6), dice.choice([0, 0, 1, 2]), dice.randrange(1, 6))
                for _ in range(dice.randrange(5))
            ]
            reports.append((dice.randrange(6), neighbours))
        nodes, edges = joined(own, reports)
        master, roles = elect(nodes, edges)
        paths = [(node, shortest(own, node, edges)) for node in nodes if node != own]
        yield {
            "self": own,
            "reports": [[node, [list(one) for one in of]] for node, of in reports],
            "nodes": nodes,
            "edges": sorted([*pair, ms] for pair, ms in edges.items()),
            "master": master,
            "roles": roles,
            "paths": [[node, *path] for node, path in paths if path is not None],
        }


def content() -> str:
    """Return the file's text."""
    dice = random.Random(SEED)
    answers = [[]] + [
        [dice.random() < 0.5 for _ in range(dice.randrange(1, WINDOW + 1))] for _ in range(60)
    ]
    told = [(5, [(1, 0, 10), (2, 1, 30), (3, 2, 9999)]), (161, []), (65535, [(0, 0, 65535)] * 255)]
    whole = report(5, [(1, 0, 10), (2, 1, 30)])
    routes = [
        [(dice.randrange(9), dice.randrange(3), dice.randrange(4)) for _ in range(count)]
        for count in range(8)
    ]
    routes = [list({one[0]: one for one in of}.values()) for of in routes]
    vectors = {
        "about": ABOUT,
        "reports": [
            {"bytes": report(node, of).hex(), "node": node, "neighbours": [list(o) for o in of]}
            for node, of in told
        ]
        + [
            {"bytes": bytes(wrong).hex(), "drop": why}
            for why, wrong in (
                ("empty", b""),
                ("cut short", whole[:-1]),
                ("longer than it says", whole + b"\0"),
                ("a ROLE", role(5, RELAY, 1)),
                ("version 2", whole[:1] + b"\2" + whole[2:]),
                ("a health of 3", whole[:7] + b"\3" + whole[8:]),
            )
        ],
        "roles": [
            {
                "bytes": role(*numbers).hex(),
                "node": numbers[0],
                "role": numbers[1],
                "master": numbers[2],
            }
            for numbers in ((7, RELAY, 5), (3, MASTER, 3), (65535, LEAF, 161))
        ],
        "health": [{"answers": of, "health": health(of)} for of in answers],
        "groups": [
            {"ms": ms, "threshold": THRESHOLD, "health": state, "group": group(ms, state)}
            for ms in (0, 49, 50, 120, 999)
            for state in (HEALTHY, DEGRADED, UNREACHABLE)
        ],
        "meshes": list(meshes()),
        "failover": [{"routes": [list(o) for o in of], "order": failover(of)} for of in routes],
    }
    lines = [
        f"{json.dumps(name)}: "
        + (
            json.dumps(cases)
            if isinstance(cases, str)
            else "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]"
        )
        for name, cases in vectors.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(content(), "utf-8")
