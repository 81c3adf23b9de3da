"""Who asks: what is known of the client of a request, whichever way it said who it is."""

import msgspec

from daiic.gateway.http.api_keys import ApiKey
from daiic.gateway.http.key_limits import KeyLimits

ANONYMOUS = "anonymous"
"""The account of all clients that need no key."""


class Client(msgspec.Struct, frozen=True):
    """For whom a request is answered.

    `id` tells clients apart: it is a key's id, or an address. `name` is for
    logs. What the client uses is counted for `account`. `may_bench` says
    whether it may start benches, `is_admin` whether it may manage models, and see
    what others used and why their tasks are where they are.
    """

    id: str
    name: str
    account: str = ANONYMOUS
    limits: KeyLimits = KeyLimits()
    may_bench: bool = False
    is_admin: bool = False

    @classmethod
    def of_key(cls, key: ApiKey) -> "Client":
        """Return the client that presents `key`."""
        return cls(key.id, key.name, key.id, key.limits, key.may_bench, key.is_admin)

    @property
    def account_name(self) -> str:
        """What people call its account."""
        return ANONYMOUS if self.account == ANONYMOUS else self.name


NOBODY = Client("", "")
"""Whose request has not been looked at yet."""
