"""What the kernel tells of TCP connections to a port of this machine."""

from dataclasses import dataclass
from pathlib import Path

TABLES = Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6")
ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class Connection:
    """One that a program has accepted.

    `unread` bytes have come that it has not read yet; the other machine has left
    the last `unanswered` packets without an answer, each sent after twice the time.
    """

    unread: int
    unanswered: int


def connections(port: int) -> list[Connection]:
    """Return those that are open; none where the kernel does not tell."""
    found = []
    for table in TABLES:
        try:
            rows = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            # The columns are named in Linux's Documentation/networking/proc_net_tcp.rst.
            local, state, queues, resent, probes, inode = (fields[n] for n in (1, 3, 4, 6, 8, 9))
            if state != ESTABLISHED or int(local.rpartition(":")[2], 16) != port or inode == "0":
                continue  # what nobody has accepted yet has no inode
            unread = int(queues.partition(":")[2], 16)
            found.append(Connection(unread, max(int(resent, 16), int(probes))))
    return found
