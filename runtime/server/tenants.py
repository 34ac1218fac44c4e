"""Whose cached prefixes a request may reuse: how long a prompt takes tells whether somebody sent it before.

Each API key has prefixes of its own, as each `cache_salt` has; an adapter's are apart in any case. Who brings the
server's own key, or none, is at home.
"""

from __future__ import annotations

import hashlib

_MARK = "key:"
_PLACEHOLDERS = frozenset({b"empty", b"none", b"null", b"dummy", b"no-key", b"not-needed", b"sk-no-key-required"})
"""What clients send, in any case of letters, that must send a key where none is asked for."""


def holder_of(key: bytes) -> str:
    """A name for who brings a key, which does not tell it; empty for no key."""
    return hashlib.sha256(key).hexdigest()[:16] if key and key.lower() not in _PLACEHOLDERS else ""


class Tenants:
    """`api_key`: the server's own, if it has one. `share`: prefixes are everybody's, but for salts."""

    def __init__(self, api_key: str | None = None, *, share: bool = False) -> None:
        self._home = {"", holder_of(api_key.encode())} if api_key else {""}
        self._share = share

    def namespace(self, client: str, salt: str) -> str:
        """Where the prefixes lie of a client's request with that salt. `client`: a holder, or "holder/user"."""
        holder = client.partition("/")[0]
        if self._share or holder in self._home:
            return f"{_MARK}-:{salt}" if salt.startswith(_MARK) else salt
        return f"{_MARK}{holder}:{salt}"
