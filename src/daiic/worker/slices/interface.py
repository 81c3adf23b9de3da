"""The network over which slices are computed, which has to be protected by other means.

What ranks send each other is neither encrypted nor authenticated, with gloo as with NCCL.
"""

import ipaddress
import socket

import psutil

from daiic.service.settings import SettingsError

LOOPBACK = "lo"


def address_of(interface: str) -> str:
    """Return the address of this machine on `interface`, an IPv4 one if it has both.

    Raises:
        SettingsError: if there is no such interface, or it has no address.
    """
    found = psutil.net_if_addrs().get(interface)
    if found is None:
        names = ", ".join(sorted(psutil.net_if_addrs()))
        raise SettingsError(
            f'shard_interface = "{interface}": there is no such network interface; set up '
            f"WireGuard, or name one that is protected by other means (there are: {names})"
        )
    for family in (socket.AF_INET, socket.AF_INET6):
        for one in found:
            if (
                one.family == family
                and not ipaddress.ip_address(one.address.partition("%")[0]).is_link_local
            ):
                return one.address
    raise SettingsError(
        f'shard_interface = "{interface}": the interface has no address; give it one'
    )
