"""How one request samples: SGLang's names and defaults, validated once at the border."""

from __future__ import annotations

import msgspec

from ..errors import InvalidSampling

MAX_STOP_STRINGS = 64
MAX_STOP_BYTES = 4096
MAX_N = 128
MAX_LOGIT_BIAS = 4096


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sampling of one request. Every field's default is SGLang's; `None` never means anything but "not given".

    Semantics, in the order in which the sampler applies them: logit_bias; repetition, frequency and presence
    penalties; min_new_tokens (end-of-sequence and stop ids are banned until then); the constraint's mask;
    temperature (0: arg max, lowest id on ties); top_k; top_p; min_p; one draw. Log-probabilities are always those of
    the model's own distribution, before any of this.
    """

    max_new_tokens: int = 128
    """Tokens to generate; 0 computes the prompt only."""
    min_new_tokens: int = 0
    """Tokens before which no end of sequence and no stop token is sampled."""
    stop: tuple[str, ...] = ()
    """Strings that end the text; cut off unless `no_stop_trim`."""
    stop_token_ids: tuple[int, ...] = ()
    """Ids that end the text, beside the model's own end-of-sequence ids."""
    stop_regex: tuple[str, ...] = ()
    """Patterns (`regex` syntax) that end the text where the first match begins."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    """-1 or 0: all."""
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in prompt or output (CTRL, arXiv 1909.05858)."""
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    no_stop_trim: bool = False
    n: int = 1
    logit_bias: dict[int, float] = {}
    heal: bool = False
    """Decide the prompt's last tokens again, together with what follows them: "http:" goes on with "://"."""
    sampling_seed: int | None = None
    """Same seed, same prompt: same tokens, whatever the batch."""

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0.0 or self.top_k == 1

    def check(self, vocab_size: int) -> None:
        """Raises InvalidSampling naming the field, the value and the range that it must lie in."""
        _between("max_new_tokens", self.max_new_tokens, 0, 10_000_000)
        _between("min_new_tokens", self.min_new_tokens, 0, self.max_new_tokens)
        _between("temperature", self.temperature, 0.0, 100.0)
        _between("top_p", self.top_p, 0.0, 1.0, open_low=True)
        _between("top_k", self.top_k, -1, 2**31 - 1)
        _between("min_p", self.min_p, 0.0, 1.0)
        _between("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        _between("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _between("repetition_penalty", self.repetition_penalty, 0.0, 2.0, open_low=True)
        _between("n", self.n, 1, MAX_N)
        if self.sampling_seed is not None:
            _between("sampling_seed", self.sampling_seed, -(2**63), 2**64 - 1)
        for name, strings in (("stop", self.stop), ("stop_regex", self.stop_regex)):
            if len(strings) > MAX_STOP_STRINGS or sum(map(len, strings)) > MAX_STOP_BYTES:
                raise InvalidSampling(
                    f"{name} takes at most {MAX_STOP_STRINGS} strings of {MAX_STOP_BYTES} characters together",
                    param=name,
                )
            if any(not s for s in strings):
                raise InvalidSampling(f"{name} strings must not be empty", param=name)
        for pattern in self.stop_regex:
            _pattern(pattern)
        for token in self.stop_token_ids:
            _between("stop_token_ids", token, 0, vocab_size - 1)
        if len(self.logit_bias) > MAX_LOGIT_BIAS:
            raise InvalidSampling(f"logit_bias takes at most {MAX_LOGIT_BIAS} tokens", param="logit_bias")
        for token, bias in self.logit_bias.items():
            _between("logit_bias", token, 0, vocab_size - 1)
            _between("logit_bias", bias, -100.0, 100.0)


def _pattern(pattern: str) -> None:
    import regex  # most requests have no pattern

    try:
        regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        raise InvalidSampling(f"stop_regex {pattern!r} is not a pattern: {error}", param="stop_regex") from None


def _between(name: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    if not low <= value <= high or (open_low and value == low):  # NaN is in no range
        found = "a number far beyond" if abs(value) > 1e30 else value  # Python spells out no integer of 5,000 digits
        raise InvalidSampling(f"{name} must be in {'(' if open_low else '['}{low}, {high}], found {found}", param=name)
