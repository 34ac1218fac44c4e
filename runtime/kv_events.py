"""What enters and leaves the prefix cache, published for routers outside: vLLM's and SGLang's KV event stream.

A zmq PUB socket sends [topic, sequence number (8 bytes, big-endian), msgpack of KVEventBatch]; a ROUTER socket replays
batches from a sequence number on, as in vLLM's kv_events.py, whose message shapes (arrays, as SGLang sends them) these
are. The last batches can also be asked for over HTTP. Blocks have 64 tokens unless told otherwise, whatever the cache's
page size is. Off unless --kv-events-config is given.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque

import msgspec
import zmq

from ..errors import ConfigError
from ..radix_cache.blocks import BlockEvent, BlockMirror, BlocksStored
from ..radix_cache.events import EventLog
from .config import EngineConfig

_MAX_EVENTS = 1 << 22  # of one step
_END = (-1).to_bytes(8, "big", signed=True)
_BOUND = ("*", "[::", "ipc://", "inproc://", "127.0.0.1", "0.0.0.0", "localhost")


class KvEventsConfig(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of --kv-events-config: vLLM's fields, and `block_size`."""

    enable_kv_cache_events: bool = True
    publisher: str = "zmq"
    """zmq, or null: over HTTP alone."""
    endpoint: str = "tcp://127.0.0.1:5557"
    replay_endpoint: str | None = None
    buffer_steps: int = 10_000
    hwm: int = 100_000
    max_queue_size: int = 100_000
    topic: str = ""
    block_size: int = 64


class BlockStored(msgspec.Struct, array_like=True, omit_defaults=True, tag=True):
    block_hashes: list[int]
    parent_block_hash: int | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None
    medium: str | None
    lora_name: str | None = None
    extra_keys: list[tuple[str, ...] | None] | None = None
    """The namespace (cache salt) of each block, where there is one."""


class BlockRemoved(msgspec.Struct, array_like=True, omit_defaults=True, tag=True):
    block_hashes: list[int]
    medium: str | None


class KVEventBatch(msgspec.Struct, array_like=True, omit_defaults=True):
    ts: float
    events: list[BlockStored | BlockRemoved]
    data_parallel_rank: int | None = None


def parse_config(text: str) -> KvEventsConfig:
    """Raises ConfigError."""
    try:
        config = msgspec.json.decode(text, type=KvEventsConfig)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"--kv-events-config: {error}", param="kv_events_config") from None
    if config.publisher not in ("zmq", "null"):
        raise ConfigError(
            f"--kv-events-config: publisher must be zmq or null, found {config.publisher!r}", param="kv_events_config"
        )
    if config.block_size < 1 or config.buffer_steps < 1:
        raise ConfigError(
            "--kv-events-config: block_size and buffer_steps must be at least 1", param="kv_events_config"
        )
    return config


class KvEvents:
    """Of one engine. `log` is the tree's; `publish` is called by the scheduler's thread, when a step is over."""

    def __init__(self, config: KvEventsConfig, *, identity: str, medium: str) -> None:
        """identity: what K and V depend on besides tokens and namespace. Raises ConfigError for an address in use."""
        self.log = EventLog(_MAX_EVENTS)
        self._mirror = BlockMirror(config.block_size, identity)
        self._medium = medium
        self._batches: deque[tuple[int, KVEventBatch]] = deque(maxlen=config.buffer_steps)
        self._next = 0
        self._socket = _Publisher(config) if config.publisher == "zmq" else None

    def publish(self) -> None:
        """Tells what happened since the last call, if anything did."""
        if not len(self.log):
            return
        events = [self._event(event) for event in self._mirror.apply(self.log.drain())]
        if not events:
            return
        batch = KVEventBatch(time.time(), events, 0)
        self._batches.append((self._next, batch))
        if self._socket is not None:
            self._socket.put(self._next, batch)
        self._next += 1

    def _event(self, event: BlockEvent) -> BlockStored | BlockRemoved:
        if not isinstance(event, BlocksStored):
            return BlockRemoved(event.hashes, self._medium)
        salt: list[tuple[str, ...] | None] | None = (
            [(event.namespace,)] * len(event.hashes) if event.namespace else None
        )
        return BlockStored(
            event.hashes, event.parent_hash, event.token_ids, self._mirror.block_size, None, self._medium, None, salt
        )

    def since(self, number: int, max_batches: int) -> dict[str, object]:
        """Batches from a sequence number on; a reader that is too late, or begins, also gets all blocks as they are."""
        self.publish()
        oldest = self._batches[0][0] if self._batches else self._next
        told: dict[str, object] = {"oldest": oldest, "next": self._next, "block_size": self._mirror.block_size}
        if number < oldest or number > self._next or number < 0:
            told["snapshot"] = [_plain(self._event(event)) for event in self._mirror.snapshot()]
            told["batches"] = []
            return told
        chosen = [(n, batch) for n, batch in self._batches if n >= number][:max_batches]
        if chosen:
            told["next"] = chosen[-1][0] + 1
        told["batches"] = [
            {"seq": n, "ts": batch.ts, "events": [_plain(event) for event in batch.events]} for n, batch in chosen
        ]
        return told

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def open_kv_events(config: EngineConfig, device: str) -> KvEvents | None:
    """What --kv-events-config asks for. Raises ConfigError."""
    if config.kv_events_config is None:
        return None
    parsed = parse_config(config.kv_events_config)
    if not parsed.enable_kv_cache_events:
        return None
    identity = f"{config.model_path}\0{config.kv_cache_dtype}"
    return KvEvents(parsed, identity=identity, medium="GPU" if device.startswith("cuda") else "CPU")


def _plain(event: BlockStored | BlockRemoved) -> dict[str, object]:
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return {"type": type(event).__name__, **{name: value for name, value in fields.items() if value is not None}}


class _Publisher:
    """A thread that owns the zmq sockets: the scheduler never waits for a subscriber."""

    def __init__(self, config: KvEventsConfig) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._pub: zmq.Socket[bytes] = context.socket(zmq.PUB)
        self._pub.set_hwm(config.hwm)
        self._replay: zmq.Socket[bytes] | None = None
        try:
            if any(mark in config.endpoint for mark in _BOUND):
                self._pub.bind(config.endpoint)
            else:
                self._pub.connect(config.endpoint)
            if config.replay_endpoint is not None:
                self._replay = context.socket(zmq.ROUTER)
                self._replay.bind(config.replay_endpoint)
        except zmq.ZMQError as error:
            self._close_sockets()
            raise ConfigError(f"--kv-events-config: {config.endpoint}: {error}", param="kv_events_config") from None
        self._topic = config.topic.encode()
        self._encode = msgspec.msgpack.Encoder().encode
        self._sent: deque[tuple[int, bytes]] = deque(maxlen=config.buffer_steps)
        self._queue: queue.Queue[tuple[int, KVEventBatch] | None] = queue.Queue(config.max_queue_size)
        self._thread = threading.Thread(target=self._run, name="radixlang-kv-events", daemon=True)
        self._thread.start()

    def put(self, number: int, batch: KVEventBatch) -> None:
        """A batch that finds the queue full is lost; its subscribers see the gap in the numbers."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait((number, batch))

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join(5.0)

    def _run(self) -> None:
        try:
            while True:
                if self._replay is not None and self._replay.poll(0):
                    self._answer(self._replay)
                try:
                    item = self._queue.get(timeout=0.05 if self._replay is not None else None)
                except queue.Empty:
                    continue
                if item is None:
                    return
                payload = self._encode(item[1])
                self._sent.append((item[0], payload))
                self._pub.send_multipart((self._topic, item[0].to_bytes(8, "big"), payload))
        finally:
            self._close_sockets()

    def _answer(self, replay: zmq.Socket[bytes]) -> None:
        frames = replay.recv_multipart()
        if len(frames) != 3 or len(frames[2]) != 8:
            return
        client, first = frames[0], int.from_bytes(frames[2], "big")
        for number, payload in self._sent:
            if number >= first:
                replay.send_multipart((client, b"", number.to_bytes(8, "big"), payload))
        replay.send_multipart((client, b"", _END, b""))

    def _close_sockets(self) -> None:
        self._pub.close(linger=0)
        if self._replay is not None:
            self._replay.close(linger=0)
