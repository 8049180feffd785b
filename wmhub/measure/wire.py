"""Messages between the processes of the engine, each behind its length."""

from __future__ import annotations

import socket
import struct

from wmhub.measure.messages import Message, decoded, encoded

_LENGTH = struct.Struct("!I")


class Channel:
    """One end of a stream socket that carries whole messages."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two connected ends."""
        left, right = socket.socketpair()
        return cls(left), cls(right)

    def fileno(self) -> int:
        """The descriptor, for ``select`` and for handing the end to another process."""
        return self._stream.fileno()

    def send(self, message: Message) -> None:
        """Sends ``message``; raises ``OSError`` where the other end has gone."""
        body = encoded(message)
        self._stream.sendall(_LENGTH.pack(len(body)) + body)

    def receive(self, timeout_seconds: float | None = None) -> Message | None:
        """The next message; ``None`` once the other end has gone, even amid a message.

        Raises ``TimeoutError`` when nothing has come after ``timeout_seconds``.
        """
        self._stream.settimeout(timeout_seconds)
        try:
            head = self._exactly(_LENGTH.size)
            # What has begun to arrive arrives: both ends are on this machine.
            self._stream.settimeout(None)
            body = self._exactly(_LENGTH.unpack(head)[0]) if head is not None else None
        except ConnectionError:
            return None
        finally:
            self._stream.settimeout(None)
        return None if body is None else decoded(body)

    def close(self) -> None:
        """Closes this end."""
        self._stream.close()

    def _exactly(self, count: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < count:
            part = self._stream.recv(count - len(parts))
            if not part:
                return None
            parts += part
        return bytes(parts)
