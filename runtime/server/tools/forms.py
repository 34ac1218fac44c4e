"""How model families write calls of tools: one form each, under the names that SGLang's --tool-call-parser has."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from ....lang.jinja import JinjaChatTemplate

NAME = "NAME"
"""Where a form's head has the tool's name."""


class Channels(NamedTuple):
    """An answer in messages that say what they are: a thought, what is said before calls, a call, the answer."""

    thought: str
    """What begins a thought."""
    said: str
    """What begins what is said before calls."""
    final: str
    """What begins an answer's text."""
    end: str
    """Of a message that is not the last."""
    again: str
    """What begins the next."""
    mark: str
    """In the beginning of every message, and nowhere in their texts."""

    @property
    def marks(self) -> tuple[str, ...]:
        """What messages without calls begin and end with: no text."""
        return self.thought, self.said, self.final, self.end, self.again


class ToolForm(NamedTuple):
    """One family's calls: blocks of an opening, one or more calls, and an end."""

    name: str
    openings: tuple[str, ...]
    """What may begin a block."""
    head: str
    """A call up to its arguments."""
    tail: str
    """What stands behind the arguments."""
    end: str
    """Of a block."""
    triggers: tuple[str, ...] = ()
    """Texts that begin an opening; free text holds none of them. None: calls are the whole answer, or there are
    none, and other answers begin with another character."""
    separator: str | None = None
    """Between the calls of a block; None: it holds one."""
    between: str = "\n"
    """Between blocks, where nothing else is written."""
    style: Literal["json", "python"] = "json"
    """Arguments are a JSON object, or Python's keyword arguments."""
    channels: Channels | None = None

    def begin(self, name: str, opening: str = "") -> str:
        """What begins a call of this tool, up to its arguments."""
        return opening + self.head.replace(NAME, name)


HERMES = ToolForm(
    name="hermes",
    openings=("<tool_call>",),
    head='{"name": "NAME", "arguments": ',
    tail="}",
    end="</tool_call>",
    triggers=("<tool_call>",),
)
QWEN = HERMES._replace(name="qwen25", openings=("<tool_call>\n",), end="\n</tool_call>")
LLAMA3 = ToolForm(
    name="llama3",
    openings=("<|python_tag|>", ""),
    head='{"name": "NAME", "parameters": ',
    tail="}",
    end="",
    triggers=("<|python_tag|>", '{"name": "'),
    between="; ",
)
MISTRAL = ToolForm(
    name="mistral",
    openings=("[TOOL_CALLS] [",),
    head='{"name": "NAME", "arguments": ',
    tail="}",
    end="]",
    triggers=("[TOOL_CALLS]",),
    separator=", ",
)
MISTRAL_TIGHT = MISTRAL._replace(openings=("[TOOL_CALLS][",))
MISTRAL_ARGS = ToolForm(
    name="mistral",
    openings=("[TOOL_CALLS]",),
    head="NAME[ARGS]",
    tail="",
    end="",
    triggers=("[TOOL_CALLS]",),
    between="",
)
DEEPSEEK_V3 = ToolForm(
    name="deepseekv3",
    openings=("<｜tool▁calls▁begin｜>",),
    head="<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n",
    tail="\n```<｜tool▁call▁end｜>",
    end="<｜tool▁calls▁end｜>",
    triggers=("<｜tool▁calls▁begin｜>",),
    separator="\n",
)
DEEPSEEK_V31 = DEEPSEEK_V3._replace(
    name="deepseekv31",
    head="<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>",
    tail="<｜tool▁call▁end｜>",
    separator="",
)
GPT_OSS = ToolForm(
    name="gpt-oss",
    openings=("<|channel|>commentary to=functions.",),
    head="NAME <|constrain|>json<|message|>",
    tail="",
    end="",
    triggers=("<|channel|>commentary to=functions.",),
    channels=Channels(
        thought="<|channel|>analysis<|message|>",
        said="<|channel|>commentary<|message|>",
        final="<|channel|>final<|message|>",
        end="<|end|>",
        again="<|start|>assistant",
        mark="<|channel|>",
    ),
)
PYTHONIC = ToolForm(name="pythonic", openings=("[",), head="NAME(", tail=")", end="]", separator=", ", style="python")
JSON = ToolForm(name="json", openings=("",), head='{"name": "NAME", "arguments": ', tail="}", end="")

FORMS: dict[str, ToolForm] = {
    "deepseekv3": DEEPSEEK_V3,
    "deepseekv31": DEEPSEEK_V31,
    "gpt-oss": GPT_OSS,
    "hermes": HERMES,
    "json": JSON,
    "llama3": LLAMA3,
    "llama4": PYTHONIC,
    "mistral": MISTRAL,
    "pythonic": PYTHONIC,
    "qwen": QWEN,
    "qwen25": QWEN,
}
"""By the names that --tool-call-parser takes."""


def form_of(template: JinjaChatTemplate | None, parser: str = "auto") -> ToolForm:
    """The form that `parser` names; auto: that of the model with this chat template.

    Hermes where the template knows no tools, which are then told that way. Mistral's models write calls in three ways:
    which, their template says even where the family is named.
    """
    source = template.source if template is not None and "tools" in template.source else ""
    if parser not in ("auto", "mistral"):
        return FORMS[parser]
    if "[TOOL_CALLS]" in source and "[ARGS]" in source:
        return MISTRAL_ARGS
    if "[TOOL_CALLS]" in source and "[TOOL_CALLS] [" not in source:
        return MISTRAL_TIGHT
    if "[TOOL_CALLS]" in source or parser == "mistral":
        return MISTRAL
    if "<tool_call>" in source:
        # A template spells the line end as it is or as an escape.
        return QWEN if re.search(r"<tool_call>(\n|\\n)", source) else HERMES
    if "<｜tool▁calls▁begin｜>" in source:
        return DEEPSEEK_V3 if "```json" in source else DEEPSEEK_V31
    if "<|channel|>" in source and "to=functions." in source:
        return GPT_OSS
    if "<|python_tag|>" in source or ("<|eot_id|>" in source and '"parameters"' in source):
        return LLAMA3
    if "<|python_start|>" in source or "[func_name1(params_name1=params_value1" in source:
        return PYTHONIC
    return HERMES
