"""KV events over zmq, as vLLM's and SGLang's subscribers read them."""

import msgspec
import numpy as np
import pytest
import zmq

from radixlang.errors import ConfigError
from radixlang.radix_cache.slot_pool import SlotPool
from radixlang.radix_cache.tree import RadixTree
from radixlang.runtime.kv_events import KVEventBatch, KvEvents, KvEventsConfig, parse_config


@pytest.fixture
def sockets(tmp_path):
    return f"ipc://{tmp_path}/events", f"ipc://{tmp_path}/replay"


@pytest.fixture
def make():
    opened = []

    def open_events(**fields):
        events = KvEvents(KvEventsConfig(block_size=4, **fields), identity="m", medium="CPU")
        opened.append(events)
        pool = SlotPool(64)
        return events, RadixTree(pool, events=events.log)

    yield open_events
    for events in opened:
        events.close()


def fill(tree, *ids):
    ids = np.array(ids, np.int32)
    handle = tree.lock(tree.match(ids, end=0))
    tree.insert(handle, ids, tree.pool.allocate(ids.size))
    tree.unlock(handle)


def test_a_subscriber_reads_batches_and_asks_for_those_it_missed(make, sockets):
    address, replay_address = sockets
    events, tree = make(endpoint=address, replay_endpoint=replay_address, topic="kv")
    fill(tree, 1, 2, 3, 4)
    events.publish()
    with zmq.Context() as context:
        sub = context.socket(zmq.SUB)
        sub.setsockopt(zmq.SUBSCRIBE, b"kv")
        sub.connect(address)
        request = context.socket(zmq.REQ)
        request.connect(replay_address)
        number = 5
        while not sub.poll(20):  # a subscription takes a moment
            fill(tree, number, 2, 3, 4, 5, 6, 7, 8)
            events.publish()
            number += 1
        topic, seq, payload = sub.recv_multipart()
        batch = msgspec.msgpack.decode(payload, type=KVEventBatch)
        assert topic == b"kv"
        assert int.from_bytes(seq, "big") >= 1
        stored = batch.events[0]
        assert len(stored.block_hashes) == 2
        assert stored.token_ids[1:] == [2, 3, 4, 5, 6, 7, 8]
        raw = msgspec.msgpack.decode(payload)
        assert raw[1][0][0] == "BlockStored"
        assert raw[1][0][4] == 4

        dealer = context.socket(zmq.DEALER)
        dealer.connect(replay_address)
        dealer.send_multipart((b"", (0).to_bytes(8, "big")))
        assert dealer.poll(5000)
        _, first, payload = dealer.recv_multipart()
        assert int.from_bytes(first, "big") == 0
        assert msgspec.msgpack.decode(payload, type=KVEventBatch).events[0].token_ids == [1, 2, 3, 4]
        for socket in (sub, request, dealer):
            socket.close(linger=0)


def test_what_is_evicted_is_told_by_the_same_hash(make):
    events, tree = make(publisher="null")
    fill(tree, *range(12))
    first = events.since(0, 10)
    tree.evict(5)
    second = events.since(first["next"], 10)
    (stored,) = first["batches"][0]["events"]
    (removed,) = second["batches"][0]["events"]
    assert (stored["type"], removed["type"]) == ("BlockStored", "BlockRemoved")
    assert removed["block_hashes"] == stored["block_hashes"][1:]
    assert stored["medium"] == "CPU"


def test_a_reader_that_is_too_late_starts_from_what_is_there(make):
    events, tree = make(publisher="null", buffer_steps=1)
    for number in range(3):
        fill(tree, number, 2, 3, 4)
        events.publish()
    told = events.since(0, 10)
    assert (told["oldest"], told["next"], told["batches"]) == (2, 3, [])
    assert sorted(event["token_ids"][0] for event in told["snapshot"]) == [0, 1, 2]
    assert "snapshot" not in events.since(2, 10)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"endpoint": 5}', '{"publisher": "kafka"}', '{"what": 1}', '{"block_size": 0}']
)
def test_a_bad_config_is_refused(text):
    with pytest.raises(ConfigError, match="kv-events-config"):
        parse_config(text)


def test_an_address_in_use_is_refused(make, sockets):
    make(endpoint="tcp://127.0.0.1:31203")
    with pytest.raises(ConfigError, match="31203"):
        make(endpoint="tcp://127.0.0.1:31203")
