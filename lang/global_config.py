"""Settings of the language that hold for the whole process. Names are SGLang's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backend.base_backend import BaseBackend


@dataclass
class GlobalConfig:
    """One instance, `global_config`; programs set its fields."""

    verbosity: int = 0
    """2 prints a program's text when it ends."""
    default_backend: BaseBackend | Any | None = None
    """What runs programs that name no backend; a Runtime is unwrapped to its endpoint."""
    skip_special_tokens_in_output: bool = True
    """Text of answers has no special tokens, such as a chat's end of turn."""
    spaces_between_special_tokens_in_out: bool = True
    """Sent with each call, for servers whose tokenizers ask for it."""
    enable_precache_with_tracing: bool = True
    """run_batch computes the constant prefix of a program once, before its first call."""
    enable_parallel_encoding: bool = True
    """SGLang's, kept so that programs may set it: joins that concatenate need no such choice."""

    @property
    def global_config(self) -> GlobalConfig:
        """Itself: it stands for the module of its name, too."""
        return self


global_config = GlobalConfig()


def resolve_backend(backend: Any | None) -> BaseBackend:
    """The backend meant by `backend`: a Runtime's endpoint, the default one for None, a tape that is being replayed."""
    from .tape import ReplayBackend, current_tape

    tape = current_tape()
    if tape is not None and tape.is_replayed:
        return ReplayBackend(tape)
    chosen = backend if backend is not None else global_config.default_backend
    chosen = getattr(chosen, "endpoint", chosen)
    if chosen is None:
        raise ValueError("no backend: call set_default_backend(...) or pass backend=...")
    result: BaseBackend = chosen
    return result
