"""A pause of this process is nobody else's silence."""

import asyncio
import socket
import time

from daiic.wire.clock import PAUSE, RunningClock
from daiic.wire.events import Event, Unreachable
from daiic.wire.limits import Limits
from daiic.wire.messages import HEADER, MessageType, encode
from daiic.wire.udp import MeshSocket

GIVE_UP = PAUSE + 0.5


def test_clock_leaves_out_what_is_too_long_between_two_readings() -> None:
    times = iter([100.0, 100.25, 100.5, 112.5, 112.75])
    clock = RunningClock(lambda: next(times))
    assert [clock() for _ in range(4)] == [100.25, 100.5, 100.5, 100.75]
    assert clock.paused == 12.0


async def test_peer_is_not_given_up_for_a_pause_of_this_process() -> None:
    happened: list[Event] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        sender = await MeshSocket.open(
            "127.0.0.1:0", on_events=happened.extend, limits=Limits(give_up=GIVE_UP)
        )
        sender.send(peer.getsockname(), MessageType.TASK, b"{}")
        await asyncio.sleep(0)
        sent = {peer.recv(100)[0], peer.recv(100)[0]}
        assert sent == {MessageType.TASK, MessageType.SACK}
        time.sleep(GIVE_UP + 0.1)  # noqa: ASYNC251
        await asyncio.sleep(0)  # what is due now is done, before or after the socket is read
        peer.setblocking(False)
        datagram, address = await asyncio.wait_for(
            asyncio.get_running_loop().sock_recvfrom(peer, 100), 10
        )
        peer.sendto(encode(MessageType.ACK, HEADER.unpack_from(datagram)[1], 0), address)
        await sender.close(drain=10)
    assert datagram[0] == MessageType.TASK
    assert not [event for event in happened if isinstance(event, Unreachable)]
    assert sender.idle()
