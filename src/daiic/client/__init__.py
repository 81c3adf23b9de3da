"""How Python programs use a cluster: tasks in, streamed answers out."""

from daiic.client.cluster import ClusterClient

__all__ = ["ClusterClient"]
