"""How a script of this folder runs: what its user can mend, as a wrong name of a model, is told in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from radixlang.errors import RadixlangError
from radixlang.runtime.args import fail


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Ends the process with what `main` returns, or with 1 and the line."""
    try:
        code = main()
    except RadixlangError as error:
        code = fail(error)
    sys.exit(code)
