"""A checkpoint's own chat template, as the prefixes and suffixes that a program appends piece by piece.

The Jinja source is rendered over probe conversations; what stands around the probes are the prefixes and suffixes.
They are used only if they rebuild every probe conversation exactly; a template whose turns depend on each other in
other ways is left to the named templates.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from ..errors import RequestError
from .chat_template import ChatTemplate, get_chat_template_by_model_path

logger = logging.getLogger(__name__)

Message = dict[str, Any]
Render = Callable[[list[Message]], str]

# Letters only: nothing that a template would trim, escape or look for.
_SYSTEM, _USER, _REPLY, _USER_2, _REPLY_2 = "QSYSQ", "QUSERQ", "QREPLYQ", "QUSERTWOQ", "QREPLYTWOQ"


def template_of_model(info: dict[str, Any]) -> ChatTemplate:
    """The template for a model described as in GET /get_model_info."""
    path = str(info.get("model_path") or "")
    source = info.get("chat_template")
    if source:
        own = derive(str(source), str(info.get("bos_token") or ""), str(info.get("eos_token") or ""))
        if own is not None:
            return own
        logger.warning("the chat template of %s is not a sequence of turns; a named template stands in", path)
    return get_chat_template_by_model_path(path)


@functools.lru_cache(maxsize=16)  # each run on a server has a backend of its own, and asks again
def derive(source: str, bos_token: str = "", eos_token: str = "") -> ChatTemplate | None:
    """The template that renders as `source` does, or None if there is none of this kind."""
    from .jinja import JinjaChatTemplate

    try:
        template = JinjaChatTemplate(source, bos_token="", eos_token=eos_token)  # the engine puts BOS before the prompt
    except RequestError as error:
        logger.debug("chat template not readable: %s", error)
        return None

    def render(messages: list[Message], prompt: bool = False) -> str:
        text = template.render(messages, add_generation_prompt=prompt)
        return text[len(bos_token) :] if bos_token and text.startswith(bos_token) else text

    try:
        return _derive(render, lambda messages: render(messages, True))
    except Exception as error:  # a template may raise whatever it likes on a conversation that it refuses
        logger.debug("chat template not usable as turns: %s", error)
        return None


def _derive(render: Render, render_prompt: Render) -> ChatTemplate | None:
    user, reply, user_2, reply_2 = (
        {"role": role, "content": content}
        for role, content in (("user", _USER), ("assistant", _REPLY), ("user", _USER_2), ("assistant", _REPLY_2))
    )
    system = {"role": "system", "content": _SYSTEM}
    upto_user = render([user])
    head, user_suffix = upto_user.split(_USER)
    assistant_prefix = _after(render_prompt([user]), upto_user)
    assistant_suffix = _after(render([user, reply]), upto_user + assistant_prefix + _REPLY)
    third = _after(render([user, reply, user_2]), render([user, reply]))
    user_prefix, rest = third.split(_USER_2)
    if rest != user_suffix or not head.endswith(user_prefix):
        return None
    roles = {"user": (user_prefix, user_suffix), "assistant": (assistant_prefix, assistant_suffix)}
    opening = head[: len(head) - len(user_prefix)]  # what stands before the first turn when there is no system message
    default_system: str | None = None
    try:
        system_prefix, rest = render([system, user]).split(_SYSTEM)
        roles["system"] = (system_prefix, _before(rest, user_prefix + _USER + user_suffix))
        if opening:
            default_system = _before(_after(opening, system_prefix), roles["system"][1])
    except Exception:  # refuses system messages: then it must begin with the user's turn
        if opening:
            return None
        roles["system"] = ("", "")
    result = ChatTemplate("model", default_system, roles, _stop_strings(assistant_suffix))
    turns = [user, reply, user_2, reply_2]
    lead = [{"role": "system", "content": None}] if default_system is not None else []
    probes = [(turns, lead + turns), (turns[:2], lead + turns[:2])]
    if roles["system"] != ("", ""):
        probes += [([system, *turns], [system, *turns]), ([system, user], [system, user])]
    return result if all(render(given) == result.get_prompt(built) for given, built in probes) else None


def _after(text: str, start: str) -> str:
    if not text.startswith(start):
        raise ValueError("a turn changes what was before it")
    return text[len(start) :]


def _before(text: str, end: str) -> str:
    if not text.endswith(end):
        raise ValueError("a turn changes what comes after it")
    return text[: len(text) - len(end)]


def _stop_strings(assistant_suffix: str) -> tuple[str, ...]:
    """What ends an assistant's turn, if it looks like a special token."""
    mark = assistant_suffix.strip()
    return (mark,) if mark.startswith(("<", "[", "◁")) and " " not in mark and "\n" not in mark else ()
