"""Seals and opens datagrams with the cluster key.

A sealed datagram is the 17-byte header, then the sender's session id (16
bytes), a counter (u64) and the ChaCha20-Poly1305 ciphertext of the payload
with its 16-byte tag (RFC 8439); the header is the associated data. Each
process draws a random session id and seals with a key of its own,
HKDF-SHA256(cluster key, salt=session id, info="daiic mesh 1") (RFC 5869), so
the counter alone, as the nonce, never repeats under one key. A session that
is not known yet must carry a header timestamp close to the receiver's clock;
afterwards its replay window decides.
"""

import secrets
import struct
from collections import OrderedDict

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from daiic.wire.counters import Counters
from daiic.wire.frames import Frame
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits
from daiic.wire.messages import HEADER, HEADER_SIZE
from daiic.wire.replay import ReplayWindow

SESSION_SIZE = 16
COUNTER = struct.Struct(">Q")
TAG_SIZE = 16
OVERHEAD = SESSION_SIZE + COUNTER.size + TAG_SIZE
INFO = b"daiic mesh 1"

_CLEAR = struct.Struct(f"{HEADER_SIZE}s{SESSION_SIZE}s{COUNTER.size}s")
"""What is not encrypted of a sealed datagram: header, session id, counter."""


def session_cipher(key: ClusterKey, session: bytes) -> ChaCha20Poly1305:
    """Return the cipher of the sender with that session id."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=session, info=INFO).derive(key.secret)
    return ChaCha20Poly1305(derived)


class Sealer:
    """Seals what this process sends and opens what others with the key send."""

    def __init__(
        self,
        key: ClusterKey,
        limits: Limits,
        counters: Counters,
        session: bytes | None = None,
    ) -> None:
        """`session` is drawn at random; only test vectors give one."""
        self._key = key
        self._limits = limits
        self._counters = counters
        self._session = session or secrets.token_bytes(SESSION_SIZE)
        self._cipher = session_cipher(key, self._session)
        self._counter = 0
        self._senders: OrderedDict[bytes, tuple[ChaCha20Poly1305, ReplayWindow]] = OrderedDict()

    def seal(self, datagram: bytes) -> bytes:
        """Return the plain `datagram`, sealed."""
        message_type, sequence, timestamp, length = HEADER.unpack_from(datagram)
        header = HEADER.pack(message_type, sequence, timestamp, length + OVERHEAD)
        counter = COUNTER.pack(self._counter)
        self._counter += 1
        sealed = self._cipher.encrypt(
            b"\0\0\0\0" + counter, memoryview(datagram)[HEADER_SIZE:], header
        )
        return b"".join((header, self._session, counter, sealed))

    def open(self, datagram: Frame, timestamp: int, wall_clock: int) -> bytes | None:
        """Return the payload of a sealed `datagram`, or `None` if it must be dropped.

        `timestamp` is the header's, `wall_clock` ours, both in microseconds.
        """
        if len(datagram) < HEADER_SIZE + OVERHEAD:
            self._counters.dropped_forged += 1
            return None
        header, session, counter = _CLEAR.unpack_from(datagram)
        known = self._senders.get(session)
        if known is None:
            if session == self._session:
                self._counters.dropped_replayed += 1
                return None
            if abs(timestamp - wall_clock) > self._limits.max_clock_skew * 1e6:
                self._counters.dropped_clock_skew += 1
                return None
            cipher, window = session_cipher(self._key, session), ReplayWindow()
        else:
            cipher, window = known
        try:
            payload = cipher.decrypt(b"\0\0\0\0" + counter, datagram[_CLEAR.size :], header)
        except InvalidTag:
            self._counters.dropped_forged += 1
            return None
        if not window.accept(COUNTER.unpack(counter)[0]):
            self._counters.dropped_replayed += 1
            return None
        if known is None:
            self._remember(session, cipher, window)
        else:
            self._senders.move_to_end(session)
        return payload

    def _remember(self, session: bytes, cipher: ChaCha20Poly1305, window: ReplayWindow) -> None:
        self._senders[session] = (cipher, window)
        if len(self._senders) > self._limits.max_sessions:
            self._senders.popitem(last=False)
