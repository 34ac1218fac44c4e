from types import SimpleNamespace

import pytest

from radixlang.constrained.constraint import Regex
from radixlang.errors import UnsupportedGrammar
from radixlang.runtime.assemble import _compiler
from radixlang.runtime.late_grammars import LateGrammars


def test_where_tokens_do_not_spell_bytes_every_constraint_is_refused() -> None:
    files = SimpleNamespace(tokenizer=SimpleNamespace(is_byte_exact=False), eos_token_ids=frozenset())
    late = LateGrammars(lambda: _compiler(files, 100))
    for _ in range(2):
        with pytest.raises(UnsupportedGrammar) as caught:
            late.submit(Regex("a")).result(30)
        assert (caught.value.status, caught.value.code) == (400, "constraints_unsupported")
    late.close()
