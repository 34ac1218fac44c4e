"""A program as a graph of requests: what is said and asked on each stream, and which values go where.

Nodes of one stream are linked by `after` (text order; a branch begins after its fork); `data` are the nodes whose
values a node uses. The JSON form holds no code and is the same for the same program.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import TraceError
from .chat_template import ChatTemplate

if TYPE_CHECKING:
    from .backend.base_backend import BaseBackend
    from .state import ProgramState

FORMAT_VERSION = 1
MIN_CACHED_PREFIX_CHARS = 64
"""A constant prefix that is shorter is not worth a call of its own."""

ASKING = frozenset({"gen", "select"})
"""Kinds of nodes that call the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of a stream. Kinds: text, arg, gen, select, var, op, set, role_begin, role_end, scope_begin, scope_end,
    image, fork, join, switch, tool, call. One that runs Python says which, as its parameter `code`."""

    id: int
    kind: str
    stream: int
    """-1: on none, such as an argument or an op."""
    params: dict[str, Any] = field(default_factory=dict)
    after: int | None = None
    """The node before this one on the stream; of a branch's first node, the fork."""
    data: tuple[int, ...] = ()
    source: str | None = None
    """file:line of the program."""

    def label(self) -> str:
        """One line for people."""
        inner = ", ".join(f"{k}={_short(v)}" for k, v in self.params.items() if v is not None)
        return f"{self.kind}({inner})"


def is_call(node: Node) -> bool:
    """Whether the node makes a call of its own: a fused gen is in the call of the one before it."""
    return node.kind in ASKING and not node.params.get("together")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


@dataclass(slots=True)
class ProgramGraph:
    """The nodes in an order in which they can run, and the names of the program's arguments."""

    name: str
    inputs: list[str]
    nodes: list[Node] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    """Names that the root stream defines."""
    types: dict[str, Any] = field(default_factory=dict)
    """Python types of values, by name; they stay in this process."""
    code: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By the `key` of nodes that use Python (checks, tools): the functions; they stay in this process."""

    @property
    def edges(self) -> list[tuple[int, int, str]]:
        """(from, to, kind): kind is seq, fork or data."""
        found: list[tuple[int, int, str]] = []
        for node in self.nodes:
            if node.after is not None:
                found.append((node.after, node.id, "fork" if self.nodes[node.after].kind == "fork" else "seq"))
            found += [(source, node.id, "data") for source in node.data]
        return found

    def depths(self) -> list[int]:
        """Of each node: how many calls, itself included, must follow one another to have it."""
        depths: list[int] = []
        for node in self.nodes:
            before = [depths[i] for i in (*node.data, *([] if node.after is None else [node.after]))]
            depths.append(max(before, default=0) + is_call(node))
        return depths

    def levels(self) -> list[list[Node]]:
        """The calls, grouped: those of one level can run beside each other."""
        depths = self.depths()
        asking = [node for node in self.nodes if is_call(node)]
        return [[n for n in asking if depths[n.id] == level] for level in range(1, max(depths, default=0) + 1)]

    def stats(self) -> dict[str, int]:
        """gens (selects are counted), width (the most calls that can run at once), depth (calls in a row), calls (gens
        that are fused are one), streams, nodes."""
        levels = self.levels()
        return {
            "gens": sum(node.kind in ASKING for node in self.nodes),
            "width": max(map(len, levels), default=0),
            "depth": len(levels),
            "calls": sum(map(len, levels)),
            "streams": len({node.stream for node in self.nodes if node.stream >= 0}),
            "nodes": len(self.nodes),
        }

    def constant_prefix(
        self, template: ChatTemplate | None = None, *, stream: int = 0, arguments: Mapping[str, Any] | None = None
    ) -> str:
        """The text that `stream` begins with in every run, or in those with these arguments.

        Roles are part of it where `template` says what they are.
        """
        text, messages, role, begin = "", list[dict[str, Any]](), "", 0
        for node in self.nodes:
            if node.stream != stream:
                continue
            if node.kind == "text":
                text += str(node.params["text"])
            elif node.kind == "role_begin" and template is not None:
                role = str(node.params["role"])
                if not messages and role != "system" and template.default_system_prompt:
                    messages.append({"role": "system", "content": template.default_system_prompt})
                    text += template.get_prompt(messages)
                text += template.get_prefix_and_suffix(role, messages)[0]
                begin = len(text)
            elif node.kind == "role_end" and template is not None:
                content = text[begin:]
                text += template.get_prefix_and_suffix(role, messages)[1]
                messages.append({"role": role, "content": content})
            elif node.kind == "var" and arguments is not None and self.nodes[node.data[0]].kind == "arg":
                text += str(arguments[self.nodes[node.data[0]].params["name"]])
            elif node.kind not in ("scope_begin", "scope_end"):
                break
        return text

    @property
    def has_code(self) -> bool:
        """Whether a node runs Python: such a graph goes nowhere else."""
        return any("code" in node.params for node in self.nodes)

    def refuse_code(self, where: str, *, kept: bool = False) -> None:
        """TraceError for the first node that runs Python, which `where` does not have; with `kept`, unless it is in
        `code`."""
        for node in self.nodes:
            if "code" in node.params and not (kept and node.params.get("key") in self.code):
                told = (
                    f"node {node.id} ({node.kind}) runs {node.params['code']}: Python code, which {where} does not have"
                )
                raise TraceError(told, where=node.source)

    # -- forms -------------------------------------------------------------------------------------------------

    def run(
        self, backend: BaseBackend | None = None, args: dict[str, Any] | None = None, **options: Any
    ) -> ProgramState:
        """Runs the graph as it is; `options` are those of a program's run."""
        from .compiler import run_graph
        from .global_config import resolve_backend
        from .run_options import RunOptions

        return run_graph(self, resolve_backend(backend), dict(args or {}), RunOptions(options))

    def to_json(self) -> str:
        """The graph as JSON. Of Python that nodes run, such as checks, it has the names alone: see `refuse_code`."""
        nodes = [
            {
                "id": node.id,
                "kind": node.kind,
                "stream": node.stream,
                "params": node.params,
                "after": node.after,
                "data": list(node.data),
                "source": node.source,
            }
            for node in self.nodes
        ]
        whole = {
            "version": FORMAT_VERSION,
            "name": self.name,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "nodes": nodes,
        }
        return json.dumps(whole, sort_keys=True, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> ProgramGraph:
        """The graph that `to_json` wrote. TraceError if it is of another version or its links are wrong."""
        return ProgramGraph.from_data(json.loads(text))

    @staticmethod
    def from_data(data: Any) -> ProgramGraph:
        """As from_json, of what the JSON says."""
        if not isinstance(data, dict) or data.get("version") != FORMAT_VERSION:
            version = data.get("version") if isinstance(data, dict) else None
            raise TraceError(f"a graph of version {version!r}; this radixlang reads {FORMAT_VERSION}")
        try:
            graph = ProgramGraph(str(data["name"]), [*data["inputs"]], outputs=[*data["outputs"]])
            nodes = [Node(**{**node, "data": tuple(node["data"])}) for node in data["nodes"]]
        except KeyError as error:
            raise TraceError(f"this is no graph: {error} is missing") from None
        except TypeError as error:
            raise TraceError(f"this is no graph: {error}") from None
        for i, node in enumerate(nodes):
            links = [*node.data, *([] if node.after is None else [node.after])]
            if node.id != i or not all(type(link) is int and 0 <= link < i for link in links):
                raise TraceError(f"node {i} of the graph is out of order or linked to a later one")
            if not isinstance(node.params, dict) or not isinstance(node.kind, str):
                raise TraceError(f"node {i} of the graph has no kind or no parameters")
            if node.source is not None and not isinstance(node.source, str):
                raise TraceError(f"node {i} of the graph has a source that is no text")
            graph.nodes.append(node)
        return graph

    def digest(self) -> str:
        """The same for graphs that do the same, wherever their source lies."""
        data = json.loads(self.to_json())
        for node in data["nodes"]:
            del node["source"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

    def render(self, form: str = "text") -> str:
        """For people: "text" (a line a node), "mermaid", "dot", "svg" or "html" (files that need nothing else)."""
        if form == "text":
            return "\n".join(self._text_lines()) + "\n"
        if form == "mermaid":
            return "\n".join(["flowchart TD", *self._mermaid_lines()]) + "\n"
        if form == "dot":
            return "\n".join(["digraph program {", *self._dot_lines(), "}"]) + "\n"
        if form in ("html", "svg"):
            from .graph_html import graph_html, graph_svg

            return graph_html(self) if form == "html" else graph_svg(self)
        raise ValueError(f'a graph renders as "text", "mermaid", "dot", "svg" or "html", not {form!r}')

    def _text_lines(self) -> Iterable[str]:
        for node in self.nodes:
            after = "" if node.after is None else f" after %{node.after}"
            uses = "" if not node.data else " uses " + ", ".join(f"%{i}" for i in node.data)
            yield f"%{node.id} = [{node.stream}] {node.label()}{after}{uses}"

    def _mermaid_lines(self) -> Iterable[str]:
        for node in self.nodes:
            left, right = ("([", "])") if node.kind in ASKING else ("[", "]")
            label = node.label().replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
            yield f'  n{node.id}{left}"{label}"{right}'
        for source, target, kind in self.edges:
            yield f"  n{source} {'-. data .->' if kind == 'data' else '-->'} n{target}"

    def _dot_lines(self) -> Iterable[str]:
        for node in self.nodes:
            shape = "oval" if node.kind in ASKING else "box"
            yield f"  n{node.id} [shape={shape}, label={json.dumps(node.label())}];"
        for source, target, kind in self.edges:
            yield f"  n{source} -> n{target}{' [style=dashed]' if kind == 'data' else ''};"

    def __str__(self) -> str:
        return self.render("text")
