"""What only administrators may do."""

from daiic.gateway.http.client import Client
from daiic.gateway.http.errors import ApiError


def check_is_admin(client: Client) -> None:
    """Refuse clients that may not change what workers have, nor see what others do.

    Raises:
        ApiError: 403 for them.
    """
    if not client.is_admin:
        raise ApiError(
            403,
            "this needs an API key of an administrator: the operator makes one with "
            "`daiic apikey create --admin NAME`",
            type="permission_error",
            code="not_admin",
        )
