"""API keys: compared in constant time, looked for where clients put them."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from .http import HttpError, Request
from .route import Route
from .tenants import holder_of


class Keys:
    """The users' keys, and the operators' one. None of them: everybody may."""

    def __init__(self, api_keys: Iterable[str | None], admin_key: str | None) -> None:
        self._users = [key.encode() for key in api_keys if key]
        self._admin = admin_key.encode() if admin_key else None

    def check(self, route: Route, request: Request) -> None:
        """Sets `request.client`. Raises HttpError 401 (no or wrong key) or 403 (a user's key on an admin route)."""
        if route.is_open:
            return
        given = _given(request)
        request.client = holder_of(given)
        is_admin = self._admin is not None and hmac.compare_digest(given, self._admin)
        is_user = any([hmac.compare_digest(given, key) for key in self._users])  # all of them, however early one fits
        if route.is_admin and self._admin is not None:
            if is_admin:
                return
            if is_user:
                raise HttpError(
                    403, "this route needs the admin key", kind="permission_error", code="admin_key_required"
                )
        elif is_user or is_admin or not self._users:
            return
        what = "no API key was given" if not given else "the API key is wrong"
        raise HttpError(
            401, f"{what}; send it as Authorization: Bearer …", kind="authentication_error", code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )  # fmt: skip


def _given(request: Request) -> bytes:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip().encode("latin-1", "replace")
    return request.headers.get("x-api-key", "").encode("latin-1", "replace")
