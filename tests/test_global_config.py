"""SGLang's place for the settings means the same as ours."""

import subprocess
import sys

PROGRAM = """
import radixlang as sgl
{first}
from radixlang.global_config import global_config
import radixlang.global_config
from radixlang.lang.global_config import global_config as own
assert sgl.global_config is global_config is own is radixlang.global_config
global_config.verbosity = 2
assert sgl.global_config.verbosity == 2
"""


def test_the_module_and_the_settings_are_one():
    for first in ("", "sgl.global_config"):
        subprocess.run([sys.executable, "-c", PROGRAM.format(first=first)], check=True)
