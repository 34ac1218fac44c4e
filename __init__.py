"""radixlang: a language for structured generation, and the runtime that executes it.

`import radixlang as sgl` runs SGLang's programs unchanged.
"""

from __future__ import annotations

import os as _os
import sys as _sys

# A package's own folder never belongs on sys.path. `python -m` run in a checkout puts it there, and
# transformers' `import kernels` would then find our kernels/ instead of the package of that name.
_HERE = _os.path.dirname(_os.path.realpath(__file__))
_sys.path[:] = [p for p in _sys.path if _os.path.realpath(p or ".") != _HERE]

__version__ = "0.1.0"
