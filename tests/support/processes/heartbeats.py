"""What a head knows of a worker."""

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb


async def heartbeat_of(client: ClusterClient, name: str) -> pb.Heartbeat:
    """Return the last heartbeat of the worker with that name."""
    status = await client.status()
    (found,) = (one.heartbeat for one in status.workers if one.heartbeat.name == name)
    return found
