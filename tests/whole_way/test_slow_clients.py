"""Clients that do not read, do not send or do nothing, beside one that is honest."""

import contextlib
import json
import resource
import socket
import time

import httpx
import pytest

PARAMS = {"temperature": 0, "ignore_eos": True}


def connect(server_url, receive_bytes=None):
    host, port = server_url.removeprefix("http://").split(":")
    raw = socket.socket()
    if receive_bytes is not None:  # before connecting: it sets the window that the server sees
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    raw.connect((host, int(port)))
    return raw


def ask(raw, body):
    data = json.dumps(body).encode()
    head = b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    raw.sendall(head % len(data) + data)


def gauges(http):
    """Empty where the engine did not answer within a second: then it is asked again."""
    deadline = time.monotonic() + 60
    while not (now := http.get("/get_server_info").json()["internal_states"][0]):
        assert time.monotonic() < deadline
    return now


@pytest.fixture
def http(server_url):
    with httpx.Client(base_url=server_url, trust_env=False, timeout=120) as client:
        yield client


def honest(http, number):
    """Seconds that a short answer takes."""
    begun = time.perf_counter()
    text = f"Question {number} of an honest client:"
    answer = http.post("/generate", json={"text": text, "sampling_params": {**PARAMS, "max_new_tokens": 4}})
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - begun


def idle(http, deadline_s=60):
    deadline = time.monotonic() + deadline_s
    while (now := gauges(http))["num_running_reqs"] or now["num_queue_reqs"] or now["num_used_tokens"]:
        assert time.monotonic() < deadline, now


def test_readers_that_take_nothing_are_paused_and_hold_up_nobody(server_url, http):
    idle(http)
    alone = sorted(honest(http, i) for i in range(3))[1]
    with contextlib.ExitStack() as sockets:
        stalled = [sockets.enter_context(connect(server_url, 2048)) for _ in range(8)]
        for number, raw in enumerate(stalled):
            # Log-probabilities make each token a kilobyte: the buffers of the system are full soon.
            body = {"text": f"Reader {number}", "stream": True, "return_logprob": True, "top_logprobs_num": 20}
            ask(raw, {**body, "sampling_params": {**PARAMS, "max_new_tokens": 1500}})
        deadline, most = time.monotonic() + 120, 0
        while (now := gauges(http))["num_paused_reqs"] < 8:
            most = max(most, now["num_running_reqs"])
            assert time.monotonic() < deadline, now
            assert now["num_running_reqs"] == most, "an answer ended though nobody read it"
        beside = sorted(honest(http, 10 + i) for i in range(3))[1]
        assert gauges(http)["num_paused_reqs"] == 8
        assert beside < 20 * alone + 2.0
        # One of them begins to read: it goes on, to its end.
        reader, got = stalled[0], b""
        reader.settimeout(60)
        while b"[DONE]" not in got[-4000:]:
            piece = reader.recv(1 << 20)
            assert piece, "the stream was cut"
            got = got[-8000:] + piece
    idle(http)


def test_two_thousand_connections_that_do_nothing(server_url, http):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("too few file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        waiting = [connect(server_url) for _ in range(2000)]
        try:
            begun = time.perf_counter()
            assert http.get("/health").status_code == 200
            health = time.perf_counter() - begun
            assert honest(http, 100) < 30
            assert health < 10
        finally:
            for raw in waiting:
                raw.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_drips_hold_up_nobody(server_url, http):
    drips = [connect(server_url) for _ in range(100)]
    try:
        for number, raw in enumerate(drips):
            if number % 2:
                raw.sendall(b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            else:
                raw.sendall(b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\n{")
        assert honest(http, 200) < 30
        headers = drips[1]
        headers.settimeout(60)
        assert b" 408 " in headers.recv(4096)
    finally:
        for raw in drips:
            raw.close()


@pytest.mark.slow
def test_a_reader_that_takes_nothing_for_half_a_minute_is_given_up(server_url, http):
    idle(http)
    raw = connect(server_url, 2048)
    body = {"text": "A reader that never reads", "stream": True, "return_logprob": True, "top_logprobs_num": 20}
    ask(raw, {**body, "sampling_params": {**PARAMS, "max_new_tokens": 3000}})
    deadline = time.monotonic() + 60
    while not gauges(http)["num_paused_reqs"]:
        assert time.monotonic() < deadline
    begun = time.monotonic()
    idle(http, 120)
    assert 20 < time.monotonic() - begun < 90
    raw.close()
