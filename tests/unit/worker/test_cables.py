"""A worker that is to use cables and cannot says why, and goes on over UDP."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daiic.wire.keyfile import ClusterKey
from daiic.wire.links import Links, LinksUnusable, PathChange
from daiic.wire.messages import MessageType
from daiic.wire.udp import MeshSocket
from daiic.worker.cables import Teller, use_cables
from daiic.worker.metrics import Statistics
from support.processes import built

KEY = ClusterKey(bytes(32))
PEER = ("10.0.0.1", 7717)


@pytest.mark.parametrize(
    ("key", "library", "says"),
    [
        (None, None, "set cluster_key_file"),
        (KEY, "/no/such/libdcf.so", "libdcf cannot be loaded from /no/such/libdcf.so"),
    ],
    ids=["no key", "no library"],
)
async def test_what_is_missing_is_said_once(
    key: ClusterKey | None, library: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library:
        monkeypatch.setenv("DAIIC_LIBDCF", library)
    socket = await MeshSocket.open("127.0.0.1:0", on_events=lambda events: None)
    with capture_logs() as logs:
        use_cables(socket, key, allow_unauthenticated=False, statistics=Statistics())
    (entry,) = logs
    assert entry["log_level"] == "warning" and says.lower() in str(entry).lower()
    await socket.close(0)


async def test_without_a_device_it_says_so_and_counts_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with built.or_skip("cables"):
        monkeypatch.setenv("DAIIC_LIBDCF", str(Path(built.libdcf()).resolve()))
    socket = await MeshSocket.open("127.0.0.1:0", on_events=lambda events: None)
    statistics = Statistics()
    with capture_logs() as logs:
        use_cables(socket, KEY, allow_unauthenticated=False, statistics=statistics)
    assert "no Thunderbolt network device" in logs[0]["event"]
    assert statistics.registry.get_sample_value("daiic_wire_link_datagrams_sent_total") == 0
    await socket.close(0)


async def test_a_library_that_fails_leaves_all_to_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with built.or_skip("cables"):
        monkeypatch.setenv("DAIIC_LIBDCF", str(Path(built.libdcf()).resolve()))
    events: list[object] = []
    other = await MeshSocket.open("127.0.0.1:0", on_events=events.extend)
    socket = await MeshSocket.open("127.0.0.1:0", on_events=lambda events: None)
    links, told = Links(None), list[PathChange]()
    changes = [PathChange(other.local_address, 60_000)]
    with monkeypatch.context() as patch:
        patch.setattr(links, "changes", lambda: iter(changes))
        socket.use_links(links, told.append)

    def fails(now: float, wall: int) -> None:
        raise LinksUnusable("a fault")

    monkeypatch.setattr(links, "step", fails)
    socket._link_turn()
    assert told == [*changes, PathChange(other.local_address, None)]
    socket.send(other.local_address, MessageType.TASK, b"still")
    await socket.close(10)
    assert any(getattr(event, "payload", None) == b"still" for event in events)
    await other.close(0)


def test_the_log_tells_when_a_peer_changes_its_way() -> None:
    teller = Teller()
    with capture_logs() as logs:
        for size in (1200, 65_474, None, 1200):
            teller.told(PathChange(PEER, size))
    assert [entry["event"] for entry in logs] == [
        "a peer is reached over a cable",
        "larger datagrams go over a cable",
        "a peer is reached over the ordinary network again",
        "a peer is reached over a cable",
    ]
    assert {entry["peer"] for entry in logs} == {"10.0.0.1:7717"}
