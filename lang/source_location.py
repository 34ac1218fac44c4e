"""Where in the user's program an expression was written."""

from __future__ import annotations

import os
import sys

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep


def user_location() -> str:
    """file:line of the nearest caller outside the language's own folder."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
