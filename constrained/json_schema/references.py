"""Where a `$ref` leads: JSON pointers, anchors and embedded `$id`s of one document, and metaschemas.

Nothing is ever fetched.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import unquote, urldefrag, urljoin

from .inside import DATA, NAMED
from .metaschemas import metaschema
from .refusal import invalid


class Target(NamedTuple):
    """A place in the document."""

    node: Any
    pointer: str
    base: str
    """The URI against which references inside it are resolved."""


_Steps = tuple[str | int, "_Steps | None"]
"""A place: its last step, and those before; the first is a pointer."""


class References:
    """The document's places by URI."""

    def __init__(self, document: Any, *, siblings_count: bool, id_keys: tuple[str, ...]) -> None:
        """`siblings_count`: keywords beside `$ref` mean something, which they do from draft 2019-09 on.

        `id_keys`: where a schema's own URI stands in this draft.
        """
        self._siblings_count = siblings_count
        self._id_keys = id_keys
        self._marks_places = frozenset([*id_keys, "$anchor", "$dynamicAnchor", "$recursiveAnchor"])
        self._bases: dict[int, str] = {}  # by identity, of schemas with a URI of their own
        self._roots: dict[str, Target] = {}
        self._anchors: dict[tuple[str, str], Target] = {}
        self._dynamic: dict[str, int] = {}
        self._has_recursive = False
        self._found: dict[tuple[str, str], Target] = {}
        self._roots[""] = Target(document, "#", "")
        self._read(document, "#", "")

    def _read(self, document: Any, pointer: str, uri: str) -> None:
        """Notes every place of a document that has a URI; `uri`: where it was found, "" for the schema that is read."""
        stack: list[tuple[Any, _Steps, str]] = [(document, (pointer, None), uri)]
        home: str | None = None
        while stack:
            node, steps, base = stack.pop()
            if isinstance(node, list):
                stack += [(child, (i, steps), base) for i, child in enumerate(node) if isinstance(child, dict | list)]
            if not isinstance(node, dict):
                continue
            if not self._marks_places.isdisjoint(node):
                base = self._enter(node, _spelled(steps), base)
            home = ("" if uri else base) if home is None else home
            reference = node.get("$ref")
            if base != home and isinstance(reference, str):  # the same from wherever it is read
                node["$ref"] = self._joined(base, reference)
            for key, child in node.items():
                if not isinstance(child, dict | list):
                    continue
                if key in NAMED and isinstance(child, dict):
                    stack += [(inner, (name, (key, steps)), base) for name, inner in child.items()]
                elif key not in _DATA:
                    stack.append((child, (key, steps), base))

    def _enter(self, node: dict[str, Any], pointer: str, base: str) -> str:
        own = self._own_id(node)
        if own is not None:
            uri, fragment = (base, own[1:]) if own.startswith("#") else urldefrag(self._joined(base, own))
            if fragment:
                self._anchors[(uri, fragment)] = Target(node, pointer, base)
            elif uri:
                first = self._roots.setdefault(uri, Target(node, pointer, uri))
                if first.node is not node:  # another of the same URI: what is inside leads to what is inside
                    uri = f"{uri}?{len(self._roots)}"
                    self._roots[uri] = Target(node, pointer, uri)
                base = self._bases[id(node)] = uri
        self._has_recursive |= node.get("$recursiveAnchor") is True
        for key in ("$anchor", "$dynamicAnchor"):
            name = node.get(key)
            if isinstance(name, str):
                self._anchors[(base, name)] = Target(node, pointer, base)
                if key == "$dynamicAnchor":
                    self._dynamic[name] = self._dynamic.get(name, 0) + 1
        return base

    def base_at(self, node: Any, base: str) -> str:
        """The base inside `node`, which may set its own."""
        return self._bases.get(id(node), base)

    def _own_id(self, node: dict[str, Any]) -> str | None:
        own = next((node[key] for key in self._id_keys if key in node), None)
        return own if isinstance(own, str) and (self._siblings_count or "$ref" not in node) else None

    @staticmethod
    def _joined(base: str, reference: str) -> str:
        """The absolute URI; `urljoin` knows no URNs."""
        return base + reference if reference.startswith("#") else urljoin(base, reference)

    def is_ambiguous(self, key: str, reference: str) -> bool:
        """Whether a dynamic reference may lead to more than one place; `key`: its keyword."""
        if key == "$recursiveRef":
            return self._has_recursive and len(self._roots) > 2
        return self._dynamic.get(reference.partition("#")[2], 0) > 1

    def find(self, reference: str, base: str, pointer: str) -> Target:
        """Where the reference at `pointer` leads. Raises GrammarError: unresolvable."""
        known = self._found.get((reference, base))
        if known is None:
            known = self._found[reference, base] = self._find(reference, base, pointer)
        return known

    def _find(self, reference: str, base: str, pointer: str) -> Target:
        uri, fragment = urldefrag(self._joined(base, reference))
        root = self._roots.get(uri) or self._metaschema(uri)
        if root is None:
            raise invalid(
                f"$ref {reference!r} leads outside the schema and is never fetched; put its target under $defs",
                "$ref",
                pointer,
            )
        if fragment == "" or fragment.startswith("/"):
            return self._follow(root, unquote(fragment), reference, pointer)
        anchored = self._anchors.get((uri, unquote(fragment)))
        if anchored is None:
            raise invalid(f"$ref {reference!r} leads nowhere: no such anchor", "$ref", pointer)
        return anchored

    def _metaschema(self, uri: str) -> Target | None:
        found = metaschema(uri)
        if found is None:
            return None
        root = self._roots[uri] = Target(found, f"{uri}#", uri)
        self._read(found, root.pointer, uri)
        return root

    def _follow(self, root: Target, path: str, reference: str, pointer: str) -> Target:
        node, at, base = root.node, root.pointer, root.base
        for step in path.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and name in node:
                node = node[name]
            elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            else:
                raise invalid(f"$ref {reference!r} leads nowhere: there is no {name!r} at {at}", "$ref", pointer)
            at = f"{at}/{escape(name)}"
            base = self.base_at(node, base)
        return Target(node, at, base)


def id_keys(dialect: str) -> tuple[str, ...]:
    """Where a schema's own URI stands in a draft; `dialect`: its `$schema`, "" where nothing is said."""
    if "draft-03" in dialect or "draft-04" in dialect:
        return ("id",)
    return ("$id",) if "json-schema.org/draft" in dialect else ("$id", "id")


def escape(key: str) -> str:
    """A key as one step of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def _spelled(steps: _Steps) -> str:
    """As a JSON pointer."""
    found: list[str] = []
    step, before = steps
    while before is not None:
        found.append(escape(str(step)))
        step, before = before
    return "/".join([str(step), *reversed(found)])


_DATA = DATA | {"default", "examples"}
