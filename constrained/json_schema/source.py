"""A JSON schema as it was sent: its document, where references in it lead, and what it says more than once."""

from __future__ import annotations

import re
from typing import Any

from . import checks
from .branches import rivals_of
from .complement import ASSERTIONS
from .document import parse
from .marks import REFUSES
from .numbers import holds_fraction
from .references import References, Target, id_keys
from .refusal import invalid
from .twins import Twins

_FRACTION = re.compile(r"[0-9][.eE]")
"""Without which no number is a fraction."""


_OLD_DRAFT = re.compile(r"http://json-schema\.org/draft-0[3467]/(hyper-)?schema#?")


class Source:
    """One schema's text, read once, however often it is normalised."""

    def __init__(self, text: str) -> None:
        """Raises a GrammarError for what is no schema; `check` for what is none further in."""
        document = parse(text)
        if not isinstance(document, dict | bool):
            raise invalid(f"a schema is an object or a boolean, found {type(document).__name__}", "", "#")
        if REFUSES in text:
            raise invalid(f"{REFUSES} is a name of our own", REFUSES, "#")
        self.document = document
        uri = str(document.get("$schema", "")) if isinstance(document, dict) else ""
        self.siblings_count = _OLD_DRAFT.fullmatch(uri) is None
        """Keywords beside `$ref` mean something. So too where a draft's URI is spelled otherwise, which validators read
        as the latest draft: what obeys them is valid in every reading."""
        self.has_fractions = _FRACTION.search(text) is not None and holds_fraction(document)
        self.references = References(document, siblings_count=self.siblings_count, id_keys=id_keys(uri))
        self.twins = Twins(document)
        self._rivals: dict[tuple[int, int], tuple[Any, Any, dict[int, list[int]] | None]] = {}  # by identity
        self._checked: set[int] = set()  # identities of schemas whose keywords have values that may be

    def check(self, node: Any, pointer: str) -> None:
        """Whether a part of it, and all inside, is a schema. Raises a GrammarError."""
        checks.check_all(node, pointer, self._checked, siblings_count=self.siblings_count)

    def target(self, reference: str, base: str, pointer: str) -> Target:
        """Where a reference leads: a schema that is one. Raises a GrammarError."""
        found = self.references.find(reference, base, pointer)
        if id(found.node) not in self._checked:
            self.check(found.node, found.pointer)
        return found

    def rivals(self, branches: list[Any], node: Any, whole: list[Any]) -> dict[int, list[int]] | None:
        """As `rivals_of`, of a oneOf's branches in `node`; `whole`: with what is said beside them."""
        key = id(branches), id(node)
        if key not in self._rivals:
            self._rivals[key] = branches, node, rivals_of(whole, self.resolve)
        return self._rivals[key][2]

    def resolve(self, node: Any) -> Any:
        """Follows references that stand alone, as all do before draft 2019-09."""
        for _ in range(8):
            if not isinstance(node, dict) or "$ref" not in node:
                break
            if self.siblings_count and set(node) & ASSERTIONS != {"$ref"}:
                break
            node = self.target(node["$ref"], "", "#").node
        return node
