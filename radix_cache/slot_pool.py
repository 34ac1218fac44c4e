"""The KV slots of one device, handed out in whole pages.

A stack of free pages: what was freed as a run comes back as a run, so a prompt usually lies in consecutive slots, which
kernels read faster. Slots that a step in flight may still read are freed behind a fence: they wait in `fenced` until
that step is committed.
"""

from __future__ import annotations

import logging

import numpy as np

from ..errors import InternalError
from .node import Int32

logger = logging.getLogger(__name__)

_FEW = 32  # pages: fewer are faster one by one than through numpy


class SlotPool:
    """`num_slots` slots in pages of `page_size`; slot = page * page_size + offset. All counts are in slots."""

    def __init__(self, num_slots: int, page_size: int = 1, *, strict: bool = True) -> None:
        """strict: freeing twice raises InternalError; otherwise it is logged and ignored."""
        assert page_size >= 1
        assert page_size & (page_size - 1) == 0
        self.page_size = page_size
        num_pages = num_slots // page_size
        self.num_slots = num_pages * page_size
        self.strict = strict
        self.fenced_len = 0
        self._stack: Int32 = np.arange(num_pages, dtype=np.int32)[::-1].copy()  # the top is the end
        self._top = num_pages
        self._free_bytes = bytearray(b"\1") * num_pages
        self._is_free = np.frombuffer(self._free_bytes, np.bool_)
        """The same bytes: single pages are looked up in one, runs in the other."""
        self._fenced: list[tuple[int, Int32]] = []
        self._offsets = np.arange(page_size, dtype=np.int32)

    @property
    def free_len(self) -> int:
        return self._top * self.page_size

    def allocate(self, num_tokens: int) -> Int32:
        """Slots for `num_tokens` (whole pages). The caller made sure that they are free."""
        num_pages = num_tokens // self.page_size
        assert num_tokens % self.page_size == 0, num_tokens
        assert num_pages <= self._top, (num_tokens, self.free_len)
        pages: Int32 = self._stack[self._top - num_pages : self._top][::-1].copy()
        self._top -= num_pages
        self._is_free[pages] = False
        if self.page_size == 1:
            return pages
        return (pages[:, None] * np.int32(self.page_size) + self._offsets).ravel()

    def free(self, slots: Int32, *, fence: int | None = None) -> None:
        """Takes back whole pages; with `fence`, only when `release(fence)` says that step is committed."""
        if slots.size == 0:
            return
        if fence is not None:
            self._fenced.append((fence, slots.copy()))
            self.fenced_len += slots.size
            return
        pages = slots if self.page_size == 1 else slots[:: self.page_size] // self.page_size
        if pages.size <= _FEW and self._free_few(pages.tolist()):
            return
        is_free = self._is_free[pages]
        if np.count_nonzero(is_free):
            message = f"slots freed twice: {slots[np.repeat(is_free, self.page_size)][:8].tolist()}"
            if self.strict:
                raise InternalError(message)
            logger.error("%s", message)
            pages = np.unique(pages[~is_free])
        self._is_free[pages] = True
        self._stack[self._top : self._top + pages.size] = pages[::-1]
        self._top += pages.size

    def _free_few(self, pages: list[int]) -> bool:
        """False, and nothing changed, where one of them is free already."""
        free_bytes = self._free_bytes
        for place, page in enumerate(pages):
            if free_bytes[page]:
                for other in pages[:place]:
                    free_bytes[other] = 0
                return False
            free_bytes[page] = 1
        top = self._top
        pages.reverse()
        self._stack[top : top + len(pages)] = pages
        self._top = top + len(pages)
        return True

    def release(self, step: int) -> None:
        """Frees what waited for `step` or an earlier one."""
        if not self._fenced:
            return
        due = [slots for fence, slots in self._fenced if fence <= step]
        self._fenced = [(fence, slots) for fence, slots in self._fenced if fence > step]
        for slots in due:
            self.fenced_len -= slots.size
            self.free(slots)

    def free_slots(self) -> Int32:
        """The free slots themselves, for audits."""
        pages = self._stack[: self._top]
        return (pages[:, None] * np.int32(self.page_size) + self._offsets).ravel()

    def fenced_slots(self) -> Int32:
        """The fenced slots themselves, for audits."""
        return np.concatenate([slots for _, slots in self._fenced]) if self._fenced else np.zeros(0, np.int32)

    def rebuild(self, owned: Int32) -> int:
        """Makes everything free that is not in `owned`; slots won back. For a server whose audit failed."""
        is_free = self._is_free
        is_free[:] = True
        is_free[owned // self.page_size] = False
        before = self._top
        pages = np.flatnonzero(is_free).astype(np.int32)[::-1]
        self._top = pages.size
        self._stack[: self._top] = pages
        self._fenced, self.fenced_len = [], 0
        return (self._top - before) * self.page_size
