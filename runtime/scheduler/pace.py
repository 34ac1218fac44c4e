"""How long steps take on this machine, learned from those that ran.

The model: seconds = base(decode rows) + prompt tokens x seconds_per_token. base is kept per power of two of decode
rows; what a step with a prompt takes beyond it moves seconds_per_token. Both follow slowly (EWMA): contexts grow,
machines get busy.
"""

from __future__ import annotations

_WEIGHT = 0.1
_WHOLE_PROMPT = 256  # prompt tokens of a step that counts with its whole weight: fewer are blurred by the base
MIN_CHUNK = 64  # prompt tokens that a step takes at least: below that, the weights are read for too little


class Pace:
    """Seconds of steps, measured on the loop's clock."""

    def __init__(self) -> None:
        self.seconds_per_token = 0.0
        """Of a prompt; 0: not measured yet."""
        self._base: dict[int, float] = {}

    def add(self, num_decode: int, num_prompt: int, seconds: float) -> None:
        """A step of so many decode rows and prompt tokens took that long."""
        if seconds <= 0.0:
            return
        if num_prompt == 0:
            self._base[_class(num_decode)] = _mixed(self._base.get(_class(num_decode), 0.0), seconds, _WEIGHT)
        elif num_prompt >= MIN_CHUNK // 4:
            rate = max(seconds - self.base_s(num_decode), 0.05 * seconds) / num_prompt
            weight = _WEIGHT * min(1.0, num_prompt / _WHOLE_PROMPT)
            self.seconds_per_token = _mixed(self.seconds_per_token, rate, weight)

    def base_s(self, num_decode: int) -> float:
        """Of a step without prompts: its class, else the nearest smaller one, else the smallest; 0: unknown."""
        if not self._base:
            return 0.0
        mine = _class(num_decode)
        known = self._base.get(mine)
        if known is None:
            smaller = [size for size in self._base if size < mine]
            known = self._base[max(smaller) if smaller else min(self._base)]
        return known

    def expect_s(self, num_decode: int, num_prompt: int) -> float:
        """0: nothing is known."""
        return self.base_s(num_decode) + num_prompt * self.seconds_per_token

    def prompt_budget(self, num_decode: int, target_s: float) -> int | None:
        """Prompt tokens beside so many decode rows for a step of `target_s`; None: as many as there are."""
        if not num_decode or target_s <= 0.0 or self.seconds_per_token == 0.0:
            return None
        return max(MIN_CHUNK, int((target_s - self.base_s(num_decode)) / self.seconds_per_token))


def _class(num_decode: int) -> int:
    return num_decode.bit_length()


def _mixed(old: float, new: float, weight: float) -> float:
    return new if old == 0.0 else old + weight * (new - old)
