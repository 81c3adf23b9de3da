"""How Python programs use a cluster: tasks in, streamed answers out."""

from daiic.client.cluster import ClusterClient
from daiic.client.task_client import TaskClient

__all__ = ["ClusterClient", "TaskClient"]
