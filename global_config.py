"""SGLang's place for the settings: `from radixlang.global_config import global_config`.

The module is the settings themselves, so that `radixlang.global_config` means the same whether or not it was imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .lang.global_config import global_config

__all__ = ["global_config"]

if not TYPE_CHECKING:
    known: dict[str, Any] = sys.modules
    known[__name__] = global_config
