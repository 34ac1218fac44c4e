"""How long an output will be: per client, the 80th percentile of its last outputs."""

from __future__ import annotations

from collections import OrderedDict, deque

from ..request import Request

_WINDOW = 64
_MIN_SAMPLES = 4
_MAX_CLIENTS = 4096


class OutputEstimator:
    """Admission reserves room for this many tokens; what grows beyond it may be retracted."""

    def __init__(self) -> None:
        self._lengths: OrderedDict[str, deque[int]] = OrderedDict()

    def add(self, client: str, output_len: int) -> None:
        lengths = self._lengths.get(client)
        if lengths is None:
            lengths = self._lengths[client] = deque(maxlen=_WINDOW)
            if len(self._lengths) > _MAX_CLIENTS:
                self._lengths.popitem(last=False)
        lengths.append(output_len)

    def expected_len(self, request: Request, max_context: int) -> int:
        """Output tokens; all of max_new_tokens where the length is known or the request was retracted twice."""
        most = request.max_new_tokens
        if request.submit.sampling.ignore_eos or request.times_retracted >= 2:
            return most
        lengths = self._lengths.get(request.client)
        if lengths is None or len(lengths) < _MIN_SAMPLES:
            return min(most, max_context // 2)
        ordered = sorted(lengths)
        return min(most, ordered[len(ordered) * 4 // 5])
