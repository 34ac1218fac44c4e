"""How long an output will be: the 80th percentile of the last outputs of the same call site, else of the same client.

A call site is a client with the limits, the stops and the constraint of a request: what one `gen` of a program sends
again and again, and what tells a judge's two tokens from a story's thousand.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

from ..request import Request

_WINDOW = 64
_MIN_SAMPLES = 4
_MAX_KEYS = 8192


class OutputEstimator:
    """Admission reserves room for this many tokens; what grows beyond it may be retracted."""

    def __init__(self) -> None:
        self._lengths: OrderedDict[Hashable, deque[int]] = OrderedDict()

    def add(self, request: Request, output_len: int) -> None:
        """A request that ended by itself had that long an output."""
        for key in (_site(request), request.client):
            lengths = self._lengths.get(key)
            if lengths is None:
                lengths = self._lengths[key] = deque(maxlen=_WINDOW)
                if len(self._lengths) > _MAX_KEYS:
                    self._lengths.popitem(last=False)
            else:
                self._lengths.move_to_end(key)
            lengths.append(output_len)

    def expected_len(self, request: Request, max_context: int) -> int:
        """Output tokens; all of max_new_tokens where the length is known or the request was retracted twice."""
        most = request.max_new_tokens
        if request.submit.sampling.ignore_eos or request.times_retracted >= 2:
            return most
        for key in (_site(request), request.client):
            lengths = self._lengths.get(key)
            if lengths is not None and len(lengths) >= _MIN_SAMPLES:
                ordered = sorted(lengths)
                return min(most, ordered[len(ordered) * 4 // 5])
        return min(most, max_context // 2)


def _site(request: Request) -> Hashable:
    sampling = request.submit.sampling
    stops = (sampling.stop, sampling.stop_token_ids, sampling.stop_regex)
    # Its hash alone: a schema may be a megabyte, and thousands of sites are remembered.
    return request.client, hash((sampling.max_new_tokens, stops, request.submit.constraint))
