"""Whether a graph that came from anywhere can be run: every link and parameter is what its kind of node has.

A graph that passes can fail, as programs can; it cannot hang, reach files or run code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import TraceError
from .captured import PLACE, TEXT
from .grammar_data import read_grammar
from .graph import Node, ProgramGraph
from .graph_run import METHODS, SAMPLING_NAMES
from .symbols import CAPTURES, TEXT_METHODS

MAX_NAME_CHARS = 200
MAX_PATTERN_CHARS = 20_000
MAX_CAPTURES = 256  # each may take a second of one thread
_ON_NO_STREAM = ("arg", "op")
_OPS = TEXT_METHODS | CAPTURES | {"slice", "index", "vote"}
_IN_CASES = frozenset({"text", "var", "gen", "select", "role_begin", "role_end", "scope_begin", "scope_end"})


def check_graph(graph: ProgramGraph) -> None:
    """Raises TraceError, with the number of the node, for the first thing that is wrong."""
    graph.refuse_code("a server")
    _names("inputs", graph.inputs)
    _names("outputs", graph.outputs)
    checker = _Checker(graph)
    for node in graph.nodes:
        try:
            checker.node(node)
        except _Wrong as wrong:
            raise TraceError(f"node {node.id} ({node.kind}): {wrong}") from None


class _Wrong(Exception):
    """What is wrong with a node."""


def _need(is_good: bool, told: str) -> None:
    if not is_good:
        raise _Wrong(told)


def _names(what: str, names: list[Any]) -> None:
    if not all(_is_name(name) for name in names) or len(set(names)) < len(names):
        raise TraceError(f"{what} must be different names")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class _Checker:
    def __init__(self, graph: ProgramGraph) -> None:
        self.graph = graph
        self.last: dict[int, int | None] = {0: None}
        """The last node of each stream that exists; of one that has begun after a fork or switch, that."""
        self.cases: set[int] = set()
        self.scopes: set[tuple[int, str]] = set()
        """Open scopes, by stream and name."""
        self.num_captures = 0
        self.valued: set[int] = set()
        """Nodes whose value others may use."""

    def node(self, node: Node) -> None:
        check: Callable[[Node], None] | None = getattr(self, f"_{node.kind}", None) if node.kind in _KINDS else None
        _need(check is not None, "no such kind can be run from a graph")
        assert check is not None
        _need(all(i in self.valued for i in node.data) or node.kind == "join", "it uses a node that has no value")
        self._place(node)
        check(node)
        name = node.params.get("name")
        _need(name is None or _is_name(name), "name must be a text")
        if node.kind in ("arg", "op", "call") or (name and node.kind in ("gen", "select", "scope_end")):
            self.valued.add(node.id)

    def _place(self, node: Node) -> None:
        """Each stream is one chain, begun by the program, a fork, a switch or a call."""
        if node.kind in _ON_NO_STREAM:
            _need(node.stream == -1 and node.after is None, "it is on no stream")
            return
        _need(_is_int(node.stream) and node.stream >= 0, "stream must be a number from 0 on")
        if node.stream not in self.last:
            _need(node.after is None, "its stream was begun by no fork and no switch")
        else:
            _need(node.after == self.last[node.stream], "it does not follow its stream's last node")
        _need(node.stream not in self.cases or node.kind in _IN_CASES, "it cannot be in a case of a switch")
        self.last[node.stream] = node.id

    def _params(self, node: Node, *allowed: str) -> None:
        unknown = sorted(set(node.params) - set(allowed))
        _need(not unknown, f"it has no parameter {', '.join(map(str, unknown))}")

    def _begin(self, node: Node) -> list[int]:
        streams = node.params.get("streams")
        _need(isinstance(streams, list) and all(_is_int(s) and s > 0 for s in streams), "streams must be numbers")
        assert isinstance(streams, list)
        _need(len(set(streams)) == len(streams) and not set(streams) & set(self.last), "a stream begins twice")
        self.last.update(dict.fromkeys(streams, node.id))
        return streams

    def _text(self, node: Node) -> None:
        self._params(node, "text")
        _need(isinstance(node.params.get("text"), str), "text must be a text")

    def _arg(self, node: Node) -> None:
        self._params(node, "name")
        _need(node.params.get("name") in self.graph.inputs, "it is none of the inputs")

    def _var(self, node: Node) -> None:
        self._params(node)
        _need(len(node.data) == 1, "it takes one value")

    def _op(self, node: Node) -> None:
        self._params(node, "method", "args")
        method, args = node.params.get("method"), node.params.get("args")
        _need(isinstance(method, str) and method in _OPS, f"there is no operation {method!r}")
        _need(
            isinstance(args, list) and all(a is None or _is_int(a) or isinstance(a, str) for a in args),
            "args must be a list of texts and numbers",
        )
        assert isinstance(args, list)
        _need(len(node.data) >= 1 and (method == "vote" or len(node.data) == 1), "it takes one value")
        least = {"slice": 3, "index": 1, "vote": 1, "replace": 2, "capture": 2, "capture_in": 2}.get(str(method), 0)
        _need(len(args) >= least, f"{method} takes {least} args")
        if method in CAPTURES:
            self.num_captures += 1
            _need(self.num_captures <= MAX_CAPTURES, f"a graph has at most {MAX_CAPTURES} captures")
            is_pattern = isinstance(args[0], str) and len(args[0]) <= MAX_PATTERN_CHARS and _is_int(args[1])
            _need(is_pattern, f"{method} takes a pattern of at most {MAX_PATTERN_CHARS} characters, and a number")
        if method == "capture_in":
            try:
                names = read_grammar(args[0]).names()
            except ValueError as error:
                raise _Wrong(str(error)) from None
            _need(0 <= args[1] < len(names), "the grammar has no such capture")

    def _set(self, node: Node) -> None:
        self._params(node, "name", "value")
        _need(_is_name(node.params.get("name")), "it needs a name")
        self._template(node, node.params.get("value"))

    def _template(self, node: Node, value: Any) -> None:
        todo = [value]
        while todo:
            part = todo.pop()
            if isinstance(part, list):
                todo += part
            elif isinstance(part, dict) and PLACE in part:
                place = part[PLACE]
                _need(_is_int(place) and 0 <= place < len(node.data), "its value has a place for none of its data")
            elif isinstance(part, dict):
                _need(TEXT not in part or isinstance(part[TEXT], list), "a text is made of a list")
                todo += part.values()

    def _gen(self, node: Node) -> None:
        self._params(node, "name", "together", "last", "next_use", "repair", "best_of", "tools", "key", *SAMPLING_NAMES)
        tools, best_of = node.params.get("tools") or [], node.params.get("best_of")
        _need(isinstance(tools, list) and all(map(_is_name, tools)), "tools must be names")
        _need(best_of is None or (_is_int(best_of) and best_of == node.params.get("n")), "best_of must be its n")
        next_use = node.params.get("next_use", 1)
        _need(_is_int(next_use) and next_use >= 1, "next_use must be a number from 1 on")
        for mark in ("together", "last"):
            _need(isinstance(node.params.get(mark, False), bool), f"{mark} must be true or false")
        dtype = node.params.get("dtype")
        _need(dtype in (None, "int", "float", "bool", "str", "string"), "dtype must be int, float, bool or str")

    def _call(self, node: Node) -> None:
        self._params(node, "program", "args")
        _need(_is_name(node.params.get("program")), "it needs the name of a program")
        _need(isinstance(node.params.get("args"), dict), "args must be an object")
        self._template(node, node.params["args"])

    def _select(self, node: Node) -> None:
        self._params(node, "name", "choices", "temperature", "method", "seed")
        choices, method = node.params.get("choices"), node.params.get("method")
        _need(isinstance(choices, list) and len(choices) > 0, "choices must be a list of texts")
        assert isinstance(choices, list)
        _need(all(isinstance(choice, str) and choice for choice in choices), "choices must be a list of texts")
        temperature, seed = node.params.get("temperature"), node.params.get("seed")
        _need(
            isinstance(temperature, (int, float)) and not isinstance(temperature, bool) and temperature >= 0,
            "temperature must be a number from 0 on",
        )
        _need(method is None or method in METHODS, f"there is no method {method!r}")
        _need(seed is None or _is_int(seed), "seed must be a number")
        _need("name" in node.params, "it needs a name, or null")

    def _role_begin(self, node: Node) -> None:
        self._params(node, "role")
        _need(node.params.get("role") in ("system", "user", "assistant"), "role must be system, user or assistant")

    _role_end = _role_begin

    def _scope_begin(self, node: Node) -> None:
        self._params(node, "name")
        name = node.params.get("name")
        _need(_is_name(name), "it needs a name")
        _need((node.stream, name) not in self.scopes, "a scope of its name is open already")
        self.scopes.add((node.stream, str(name)))

    def _scope_end(self, node: Node) -> None:
        self._params(node, "name")
        name = node.params.get("name")
        _need(_is_name(name) and (node.stream, name) in self.scopes, "no scope of its name is open on its stream")
        self.scopes.discard((node.stream, str(name)))

    def _fork(self, node: Node) -> None:
        self._params(node, "size", "streams", "twin", "asking", "ready")
        asking = node.params.get("asking")
        _need(asking is None or _is_int(asking), "asking must be a number")
        _need(isinstance(node.params.get("twin", False), bool), "twin must be true or false")
        streams, ready = self._begin(node), node.params.get("ready") or []
        _need(
            isinstance(ready, list) and all(_is_int(place) and 0 <= place < len(streams) for place in ready),
            "ready must be places among its streams",
        )

    def _switch(self, node: Node) -> None:
        self._params(node, "keys", "streams")
        keys = node.params.get("keys")
        _need(isinstance(keys, list) and all(k is None or isinstance(k, str) for k in keys), "keys must be texts")
        assert isinstance(keys, list)
        _need(len(node.data) == 1, "it takes one value")
        streams = self._begin(node)
        _need(len(set(keys)) == len(keys) == len(streams) > 0, "there must be one key for each stream")
        self.cases.update(streams)

    def _join(self, node: Node) -> None:
        self._params(node, "mode", "streams", "names")
        streams, names = node.params.get("streams"), node.params.get("names")
        _need(node.params.get("mode") in ("gather_variable", "concate_and_append"), "there is no such mode")
        _need(isinstance(names, list) and all(_is_name(name) for name in names), "names must be texts")
        _need(isinstance(streams, list) and all(_is_int(s) for s in streams), "streams must be numbers")
        assert isinstance(streams, list)
        _need(set(streams) <= set(self.last) - self.cases - {0, node.stream}, "it joins a stream that was not forked")


_KINDS = frozenset({
    "text", "arg", "var", "op", "set", "gen", "select", "role_begin", "role_end", "scope_begin", "scope_end", "fork",
    "switch", "join", "call",
})  # fmt: skip
