"""What each expression does to its stream."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

from ..errors import ProgramError
from .answers import choose
from .backend.base_backend import NativeBackend
from .blocking import BlockingCalls, overrides
from .chat_template import ChatTemplate
from .choices import total_logprob
from .generation import generate
from .global_config import global_config
from .ir import (
    SglAction,
    SglCommitLazy,
    SglConcateAndAppend,
    SglConstantText,
    SglExpr,
    SglExprList,
    SglFuture,
    SglGen,
    SglImage,
    SglRoleBegin,
    SglRoleEnd,
    SglSelect,
    SglSeparateReasoning,
    SglSwitch,
    SglTogether,
    SglVariable,
    SglVarScopeBegin,
    SglVarScopeEnd,
    SglVideo,
    chosen_case,
)
from .media import encode_image, encode_video
from .native_calls import NativeCalls
from .points import ForkPoint, SyncPoint
from .slot import QueueItem, Slot
from .speculation import ChatSpeculation, CompletionSpeculation
from .together import generate_together

if TYPE_CHECKING:
    from .stream_executor import StreamExecutor


_ROLES = (SglRoleBegin, SglRoleEnd)
_IMMEDIATE = (SglConstantText, SglVarScopeBegin, SglVarScopeEnd, SyncPoint)
_DEFINING = (SglGen, SglSelect, SglVarScopeBegin)
"""Expressions that have a slot each; see StreamExecutor._declare."""


def _parts(expr: SglExpr) -> list[SglExpr]:
    return expr.expr_list if isinstance(expr, SglExprList) else [expr]


class Performer:
    """Executes the expressions of one stream, one at a time, and holds what is open: the role, the scopes."""

    def __init__(self, stream: StreamExecutor) -> None:
        self.stream = stream
        self._told = 0
        """How much of the text events have told."""
        self.cur_role: str | None = None
        self.cur_role_begin_pos = 0
        self.cur_images: list[tuple[Any, str]] = []
        self._scopes: dict[str, tuple[int, Slot]] = {}
        self.speculation: ChatSpeculation | CompletionSpeculation | None = None
        if stream.num_api_spec_tokens is not None:
            is_chat = bool(getattr(stream.backend, "is_chat_model", False))
            self.speculation = (ChatSpeculation if is_chat else CompletionSpeculation)(stream)

    def open_slots(self) -> list[Slot]:
        """Values whose expressions have begun and wait for another to end them."""
        slots = [slot for _, slot in list(self._scopes.values())]
        return slots + (self.speculation.open_slots() if self.speculation is not None else [])

    def is_immediate(self, expr: SglExpr) -> bool:
        """Whether `expr` needs no backend, so that it can run in the caller's thread."""
        if isinstance(expr, _ROLES):
            return self.stream.chat_template is not None and self.speculation is None
        if isinstance(expr, ForkPoint):
            return isinstance(self.stream.calls, NativeCalls) or not self._commits(expr)
        return isinstance(expr, _IMMEDIATE)

    def _commits(self, fork: ForkPoint) -> bool:
        """Whether the backend is told of the fork: several branches will ask for what comes before it."""
        if fork.asking < 2 or not self.stream.text_:
            return False
        backend = self.stream.backend
        return isinstance(backend, NativeBackend) or overrides(backend, "commit_lazy_operations")

    def perform_immediate(self, item: QueueItem) -> None:
        """What `is_immediate` says can be done now."""
        expr = item.expr
        if isinstance(expr, SglConstantText):
            self.fill(expr.value)
        elif isinstance(expr, SglRoleBegin):
            assert self.stream.chat_template is not None
            self._role_begin(expr.role, self.stream.chat_template)
        elif isinstance(expr, SglRoleEnd):
            assert self.stream.chat_template is not None
            self._role_end(expr.role, self.stream.chat_template)
        elif isinstance(expr, SglVarScopeBegin):
            self._scopes[expr.name] = (len(self.stream.text_), item.slots[0])
        elif isinstance(expr, SglVarScopeEnd):
            begin, slot = self._scopes.pop(expr.name)
            self.define(slot, self.stream.text_[begin:], None)
        elif isinstance(expr, SyncPoint):
            expr.reached.set_result(None)
        elif isinstance(expr, ForkPoint):
            self._branch(expr)
        else:
            raise AssertionError(f"{type(expr).__name__} is not immediate")

    async def perform(self, item: QueueItem) -> None:
        expr, context = item.expr, item.context
        if isinstance(expr, SglGen):
            await self._gen(expr, item.slots[0], context)
            self._capture(expr, item.slots)
        elif isinstance(expr, SglSelect):
            await self._select(expr, item.slots[0], context)
        elif isinstance(expr, SglSeparateReasoning):
            await self._separate_reasoning(expr, item.slots, context)
        elif isinstance(expr, SglVariable):
            self.fill(str(await asyncio.wrap_future(expr.source_stream_executor.value_future(expr.name))))
        elif isinstance(expr, SglFuture):
            self.fill(str(await asyncio.wrap_future(expr.future)))
        elif isinstance(expr, SglConcateAndAppend):
            await self._concatenate(expr)
        elif isinstance(expr, SglSwitch):
            await self._switch(expr, item)
        elif isinstance(expr, SglTogether):
            await self._together(expr, item)
        elif isinstance(expr, SglAction):
            await expr.perform(self, item)
        elif isinstance(expr, (SglImage, SglVideo)):
            await self._media(expr, context)
        elif isinstance(expr, SglCommitLazy):
            if isinstance(self.stream.calls, NativeCalls):
                self.stream.calls.begin_branches([])
            else:
                await self.stream.calls.begin_branches(context)
        elif isinstance(expr, ForkPoint):
            if isinstance(self.stream.calls, BlockingCalls) and self._commits(expr):
                await self.stream.calls.begin_branches(context)
            self._branch(expr)
        else:
            if isinstance(expr, _ROLES):
                await self.template()
                if isinstance(expr, SglRoleEnd) and isinstance(self.speculation, ChatSpeculation):
                    await self.speculation.flush(context)
            self.perform_immediate(item)

    async def template(self) -> ChatTemplate:
        """The stream's chat template; the model's own, asked once per backend."""
        stream = self.stream
        if stream.chat_template is None:
            assert isinstance(stream.backend, NativeBackend)
            stream.chat_template = await stream.backend.native_chat_template()
        return stream.chat_template

    def define(self, slot: Slot, value: Any, meta: dict[str, Any] | None) -> None:
        """`slot` gets its value, and the stream's variable of that name, unless a later expression took it."""
        if slot.name and self.stream.slots.get(slot.name) is slot:
            self.stream.variables[slot.name] = value
            if meta is not None:
                self.stream.meta_info[slot.name] = meta
        slot.define(value, meta)
        made: dict[str, Any] = {}
        if meta is not None:
            before, prompt_chars = self._text_before(value)
            made = {"meta_info": meta, "before": before, "prompt_chars": prompt_chars}
        self.stream.run.emit("value", self.stream, slot, value=value, **made)

    def _text_before(self, value: Any) -> tuple[str, int]:
        """What the program wrote between the call before, or the fork, and the one that just gave `value`; and the
        length of all text before it."""
        text = self.stream.text_
        made = str(value[0] if isinstance(value, list) and value else value)
        begin = max(self._told, self.stream.fork_start_text_pos or 0)
        self._told = len(text)
        end = len(text) - len(made)
        return text[begin:end], end

    def fill(self, text: str, *, is_prefix: bool = False) -> None:
        """Appends text that the program wrote."""
        if isinstance(self.speculation, ChatSpeculation) and self.cur_role == "assistant" and not is_prefix:
            self.speculation.add_text(text)
            return
        if isinstance(self.speculation, CompletionSpeculation):
            self.speculation.add_text(text)
        self.append_text(text)

    def append_text(self, text: str) -> None:
        self.stream.text_ += text
        self.check_length()
        self.stream.calls.append_text(text)

    def check_length(self) -> None:
        """ProgramError where the text is longer than the run allows."""
        limit = self.stream.run.max_text_chars
        if limit is not None and len(self.stream.text_) > limit:
            raise ProgramError(f"the text of a stream is over the limit of {limit} characters")

    # -- roles -------------------------------------------------------------------------------------------------

    def _role_begin(self, role: str, template: ChatTemplate) -> None:
        if self.cur_role is not None:
            raise ValueError(f"role {role!r} begins inside role {self.cur_role!r}: nested roles are not allowed")
        if not self.stream.messages_ and role != "system" and template.default_system_prompt:
            self.add_message("system", template.default_system_prompt, template)
        self.cur_role = role
        prefix, _ = template.get_prefix_and_suffix(role, self.stream.messages_)
        self.fill(prefix, is_prefix=True)
        self.cur_role_begin_pos = len(self.stream.text_)

    def _role_end(self, role: str, template: ChatTemplate) -> None:
        if self.cur_role != role:
            raise ValueError(f"role {role!r} ends, but the open role is {self.cur_role!r}")
        self.cur_role = None
        content: Any = self.stream.text_[self.cur_role_begin_pos :]
        _, suffix = template.get_prefix_and_suffix(role, self.stream.messages_)
        self.fill(suffix)
        if self.cur_images:
            urls = [
                {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{d}"}} for _, d in self.cur_images
            ]
            content = [{"type": "text", "text": content}, *urls]
            self.cur_images = []
        self.stream.messages_.append({"role": role, "content": content})

    def add_message(self, role: str, content: str, template: ChatTemplate) -> None:
        self._role_begin(role, template)
        self.fill(content)
        self._role_end(role, template)

    # -- calls -------------------------------------------------------------------------------------------------

    async def _gen(self, expr: SglGen, slot: Slot, context: contextvars.Context) -> None:
        template = await self.template()
        self.stream.calls.is_last = bool(expr.options.get("last"))
        self.stream.calls.next_use = expr.options.get("next_use")
        if self.speculation is not None:
            await self.speculation.generate(expr, slot, context, template)
            return
        await generate(self, expr, slot, context, template)

    def _capture(self, expr: SglGen, slots: list[Slot]) -> None:
        """The captures of a grammar become known with the text that they are in."""
        grammar = expr.options.get("grammar")
        if grammar is None or len(slots) < 2:
            return
        value = slots[0].future.result()
        found = grammar.read(str(value[0] if isinstance(value, list) else value))
        for slot, text in zip(slots[1:], found.values(), strict=True):
            if text is None:
                self.stream.drop(slot, f"{slot.name!r} is in no part of the text that was taken")
            else:
                self.define(slot, text, None)

    async def _select(self, expr: SglSelect, slot: Slot, context: contextvars.Context) -> None:
        stream = self.stream
        if not expr.choices:
            raise ValueError("select needs at least one option, found an empty list")
        stream.run.check_budget()
        slot.started = True
        decision, meta = await choose(stream, expr, lambda: stream.calls.select(expr, context))
        inputs = meta.get("input_token_logprobs")
        if inputs is not None and len(inputs) == len(expr.choices):
            slot.options = (list(expr.choices), [total_logprob(option) for option in inputs])
        stream.text_ += decision
        if stream.stream:
            slot.pieces.append((decision, meta))
        self.define(slot, decision, meta)

    async def _separate_reasoning(
        self, expr: SglSeparateReasoning, slots: list[Slot], context: contextvars.Context
    ) -> None:
        """The slots: those of the expressions inside, in order, then one for each named one's reasoning."""
        inner = expr.expr.expr_list if hasattr(expr.expr, "expr_list") else [expr.expr]
        reasoning = {slot.name: slot for slot in slots}
        values = iter(slots)
        for part in inner:
            if isinstance(part, SglGen):
                slot = next(values)
                name = SglSeparateReasoning.process_name_for_reasoning(slot.name)
                template = await self.template()
                await generate(self, part, slot, context, template, reasoning.get(name) or Slot(""), expr.model_type)
            elif isinstance(part, SglSelect):
                slot = next(values)
                await self._select(part, slot, context)
                thought = reasoning.get(SglSeparateReasoning.process_name_for_reasoning(slot.name))
                if thought is not None:
                    self.define(thought, "", None)
            elif isinstance(part, SglConstantText):
                self.fill(part.value)
            else:
                raise ValueError(f"separate_reasoning takes gens, selects and text, not {part!r}")

    async def _switch(self, expr: SglSwitch, item: QueueItem) -> None:
        """Performs the case that the value takes; what the other cases define stays undefined."""
        stream = self.stream
        value = await asyncio.wrap_future(expr.value)
        taken = chosen_case(value, expr.cases, expr.default)
        parts = [part for case in expr.all_cases() for part in _parts(case)]
        own, slots = {id(part) for part in _parts(taken)}, iter(item.slots)
        owned = {id(part): [next(slots)] if isinstance(part, _DEFINING) else [] for part in parts}
        kept = [slot for part in own for slot in owned[part]]
        for slot in (slot for slots_of in owned.values() for slot in slots_of if slot not in kept):
            stream.drop(slot, f"switch took {str(value)!r}, which does not define {slot.name!r}")
        for part in _parts(taken):
            await self.perform(QueueItem(part, item.context, owned[id(part)]))

    async def _together(self, expr: SglTogether, item: QueueItem) -> None:
        """One call where it can stand for all; the rest one by one."""
        slots = iter(item.slots)
        parts = [(part, next(slots) if isinstance(part, SglGen) else None) for part in expr.parts]
        done = await generate_together(self, parts)
        for part, slot in parts[done:]:
            await self.perform(QueueItem(part, item.context, [] if slot is None else [slot]))

    async def _media(self, expr: SglImage | SglVideo, context: contextvars.Context) -> None:
        template = await self.template()
        if isinstance(self.stream.backend, NativeBackend):
            await self.stream.calls.add_image(context)
        data = encode_image(expr.path) if isinstance(expr, SglImage) else encode_video(expr.path, expr.num_frames)
        self.stream.images_.append((expr.path, data))
        self.cur_images.append((expr.path, data))
        self.fill(template.image_token)
        if not isinstance(self.stream.backend, NativeBackend):
            await self.stream.calls.add_image(context)

    # -- streams -----------------------------------------------------------------------------------------------

    async def _concatenate(self, expr: SglConcateAndAppend) -> None:
        for state in expr.states:
            branch = state.stream_executor
            await asyncio.wrap_future(branch.sync_future())
            branch.raise_error()
            self.fill(branch.text_[branch.fork_start_text_pos or 0 :])

    def _branch(self, fork: ForkPoint) -> None:
        stream = self.stream
        for child in fork.children:
            child.text_ = stream.text_
            child.messages_ = list(stream.messages_)
            child.images_ = list(stream.images_)
            child.variables = {**stream.variables, **child.variables}
            child.meta_info = dict(stream.meta_info)
            child.chat_template = stream.chat_template
            child.fork_start_text_pos = stream.fork_start_text_pos if fork.is_twin else len(stream.text_)
            child.performer.cur_role = self.cur_role
            child.performer.cur_role_begin_pos = self.cur_role_begin_pos
            child.performer.cur_images = list(self.cur_images)
            child.calls = stream.calls.branch(child)
        if isinstance(stream.calls, NativeCalls) and self._commits(fork):
            branches = [child.calls for child in fork.children if isinstance(child.calls, NativeCalls)]
            stream.calls.begin_branches(branches, [branches[place] for place in fork.ready])
        for child in fork.children:
            child.begin()

    def finish(self) -> None:
        """The stream has ended and everything in it has run."""
        for slot in self.open_slots():
            slot.fail(ProgramError(f"the program ended before {slot.name!r} was complete"))
        if overrides(self.stream.backend, "end_program") or isinstance(self.stream.backend, NativeBackend):
            self.stream.run.loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self.stream.calls.end()))
        if global_config.verbosity >= 2 and self.stream.parent is None and self.stream.error_ is None:
            print(self.stream.text_)
