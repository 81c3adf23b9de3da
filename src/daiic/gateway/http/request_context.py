"""What an endpoint needs to answer one request, beside the request itself."""

from dataclasses import dataclass

from daiic.gateway.http.client import Client
from daiic.gateway.http.response_writer import ResponseWriter
from daiic.gateway.monitoring.activity import Activity


@dataclass(slots=True)
class RequestContext:
    """What the answer is written to, and for whom.

    `base_url` is how the client reaches this gateway.
    """

    response: ResponseWriter
    activity: Activity
    base_url: str
    client: Client
