import subprocess
import sys
from types import SimpleNamespace

import pytest

from radixlang.constrained.constraint import Regex
from radixlang.errors import ConfigError, UnsupportedGrammar
from radixlang.runtime import assemble
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.late_grammars import LateGrammars


def test_where_tokens_do_not_spell_bytes_every_constraint_is_refused() -> None:
    files = SimpleNamespace(tokenizer=SimpleNamespace(is_byte_exact=False), eos_token_ids=frozenset())
    late = LateGrammars(lambda: assemble._compiler(files, 100))
    for _ in range(2):
        with pytest.raises(UnsupportedGrammar) as caught:
            late.submit(Regex("a")).result(30)
        assert (caught.value.status, caught.value.code) == (400, "constraints_unsupported")
    late.close()


def test_where_memory_ends_one_line_says_what_to_lower(monkeypatch) -> None:
    def too_much(*_, **__):
        raise MemoryError("Unable to allocate 373. GiB")

    monkeypatch.setattr(assemble, "open_model", too_much)
    with pytest.raises(ConfigError, match=r"373\. GiB.*lower --max-running-requests"):
        assemble.assemble(EngineConfig(), lambda message: None)


def test_a_gguf_is_loaded_without_the_readers_of_other_formats(tiny_gguf_path) -> None:
    program = (
        "import sys, radixlang.runtime.engine_process\n"
        "from radixlang.runtime.assemble import assemble\n"
        "from radixlang.runtime.config import EngineConfig\n"
        f"config = EngineConfig(model_path={str(tiny_gguf_path)!r}, max_total_tokens=512, executor='native')\n"
        "assemble(config, lambda message: None, late_tokenizer=True).close()\n"
        "rooms = {'weights.safetensors', 'weights.quantised', 'model.hf_config', 'tokenizer.hf_tokenizer'}\n"
        "print(sorted(r for r in rooms if f'radixlang.runtime.{r}' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    if "NativeUnavailable" in done.stderr or "cannot be built" in done.stderr:
        pytest.skip("no native step here")
    assert done.stdout.strip() == "[]", done.stderr
