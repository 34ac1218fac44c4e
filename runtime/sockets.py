"""The zmq sockets between the API process and its engine, and their codec: msgspec's msgpack, never pickle.

The API process binds a ROUTER in a folder of mode 0700; each engine process connects two DEALERs, one that only
receives and one that only sends (a zmq socket belongs to one thread), whose identities are the generation that the
supervisor gave it. A message of a former generation, or one that does not decode, is dropped and counted. Frames: one
msgpack message each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
import zmq

from .engine_start import address_in
from .messages import FromEngine, ToEngine

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger(__name__)

_encoder = msgspec.msgpack.Encoder()
_to_engine = msgspec.msgpack.Decoder(ToEngine)
_from_engine: msgspec.msgpack.Decoder[FromEngine] = msgspec.msgpack.Decoder(FromEngine)
_SENDER: Final = b":out"
"""Added to an engine's identity: its sending socket."""


class EngineSocket:
    """The engine's end. One thread may call `receive` while another calls `send`."""

    def __init__(self, address: str, identity: str) -> None:
        self._in = _dealer(address, identity.encode())
        self._out = _dealer(address, identity.encode() + _SENDER)
        self.num_dropped = 0

    def send(self, message: FromEngine) -> None:
        """Never blocks: the queue is unbounded, its content bounded by the requests in flight."""
        self._out.send(_encoder.encode(message))

    def receive(self, timeout_s: float | None = 0.0) -> list[ToEngine]:
        """All messages that are there; waits up to `timeout_s` (None: without end) for the first."""
        messages: list[ToEngine] = []
        wait_ms = -1 if timeout_s is None else int(timeout_s * 1000)
        if wait_ms and not self._in.poll(wait_ms):
            return messages
        while True:
            try:
                frame = self._in.recv(zmq.NOBLOCK)
            except zmq.Again:
                return messages
            try:
                messages.append(_to_engine.decode(frame))
            except msgspec.MsgspecError as error:
                self.num_dropped += 1
                logger.warning("dropped a message that does not decode: %s", error)

    def close(self) -> None:
        """The last thing that the process does with zmq: waits until what was sent is delivered, for a while."""
        self._in.close()
        self._out.close()
        zmq.Context.instance().term()


def _dealer(address: str, identity: bytes) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.IDENTITY, identity)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.LINGER, 10_000)  # an engine that fails at once is ahead of the API process
    socket.setsockopt(zmq.RECONNECT_IVL, 10)
    socket.connect(address)
    return socket


class FrontSocket:
    """The API process's end, on its event loop: `on_message` is called for each message of the current engine."""

    def __init__(self, on_message: Callable[[FromEngine], None], folder: str) -> None:
        """`folder`: of mode 0700; removed at the end."""
        self._on_message = on_message
        self._folder = folder
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.bind(address_in(folder))
        self._fd = int(self._socket.getsockopt(zmq.FD))
        self._peer = b""
        self._loop: asyncio.AbstractEventLoop | None = None
        self.num_dropped = 0

    def listen(self, identity: str) -> None:
        """Hears the engine of that identity, and no other, from now on."""
        self._peer = identity.encode()
        if self._loop is None:
            import asyncio  # an engine process needs none

            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._fd, self.drain)
        self.drain()

    def send(self, message: ToEngine) -> bool:
        """False when that engine is not connected (yet, or any more)."""
        try:
            self._socket.send_multipart((self._peer, _encoder.encode(message)), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        # zmq's descriptor is edge triggered: a send may have consumed the edge of a message that came meanwhile.
        if self._loop is not None and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._loop.call_soon(self.drain)
        return True

    def drain(self) -> None:
        """Hears all that has come."""
        while True:
            try:
                peer, frame = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            except ValueError:
                self.num_dropped += 1
                continue
            if peer != self._peer + _SENDER:
                self.num_dropped += 1
                continue
            try:
                message = _from_engine.decode(frame)
            except msgspec.MsgspecError as error:
                self.num_dropped += 1
                logger.warning("dropped a message that does not decode: %s", error)
                continue
            self._on_message(message)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._fd)
            self._loop = None
        self._socket.close()
        import shutil

        shutil.rmtree(self._folder, ignore_errors=True)
