"""What a published program's answer is so far, while it runs: so that a chat gets it in pieces.

The answer is what the body returns; without that, the last assistant message; without roles, the last value. It is
known early where the body returns a gen's value that a trace can see, or where it has ended, as bodies do that read no
value, while its last message is still being generated.
"""

from __future__ import annotations

from ...lang.ir import SglRoleBegin
from ...lang.stream_executor import StreamExecutor


class Saying:
    """returned: the name of the value that the body is known to return."""

    def __init__(self, returned: str | None) -> None:
        self._returned = returned
        self._root: StreamExecutor | None = None

    def begin(self, root: StreamExecutor) -> None:
        """The run's root stream."""
        self._root = root

    def text(self) -> str:
        """The beginning of the answer, as far as it is known; it only grows."""
        root = self._root
        if root is None:
            return ""
        if self._returned is not None:
            return self._value(root, self._returned)
        ended = root.run.ret_value
        if not ended.done() or ended.exception() is not None or ended.result() is not None:
            return ""
        if any(isinstance(expr, SglRoleBegin) and expr.role == "assistant" for expr in root.queued()):
            return ""
        performer = root.performer
        if performer.cur_role == "assistant":
            return root.text_[performer.cur_role_begin_pos :]
        said = [m["content"] for m in root.messages_ if m["role"] == "assistant" and isinstance(m["content"], str)]
        if said:
            return said[-1]
        names = [name for name in root.slots if name]
        return "" if performer.cur_role is not None or root.messages_ or not names else self._value(root, names[-1])

    def _value(self, root: StreamExecutor, name: str) -> str:
        slot = root.slots.get(name)
        return "" if slot is None else slot.text
