"""Every split of a GGUF's byte-level vocabulary gives llama.cpp's own ids, on the default model's vocabulary.

Needs llama.cpp's `test-tokenizer-0`: RADIXLANG_LLAMA_BIN names its folder, else it is that of the peers that
examples/bench installs; without either it is skipped.
"""

import json
import os
import subprocess
from pathlib import Path

import gguf
import pytest
from tokenizers import Tokenizer

from radixlang.runtime.tokenizer.gguf_vocabulary import tokenizer_json
from radixlang.runtime.tokenizer.pre_tokenizers import KNOWN, merges_are_skipped_for_whole_tokens, pre_tokenizer_json
from radixlang.runtime.weights.gguf import GgufCheckpoint

pytestmark = [pytest.mark.slow, pytest.mark.model]
APART = "\n__ggml_vocab_test__\n"
TEXTS = [
    "  - item\n    - nested\n", "def f(x):\n    return x**2\n", "I'M we'Ve HELLO's it's CamelCaseWORD fooBAR",
    "a1b22c333d4444e55555 1234567 12,345,678", "!Hello ?world #include <x> $foo", "日本語123テスト、漢字かな。",
    "नमस्ते दुनिया বাংলা ก็ไทย", "مرحبا ١٢٣ שלום", "a  b   c    d\n\n\n  e \t\t f   ", "path/to/file\n/x",
    "Ünïcödé ÉCOLE Ǆ ǅ ʰ", "x\u00a0y\u3000z\u2028w", "don’t ‘q’ “d”…—", "한국어 테스트ㄱㄴ", "ab\n   \n cd   ",
    "foo(bar)[baz]{q}|^~`", "²³¼ Ⅷ① x²y", "🙂🙂 👩\u200d👩\u200d👧!", "a.b,c!d?e…f。g，h", "+1-2*3/4=5 <=> a<b>c",
    "\u0301x e\u0301t", "\u200b\ufeff\x7f\x80", "A" * 300,
]  # fmt: skip


@pytest.fixture(scope="module")
def program(cache_of_the_tests):
    installed = (Path(os.environ["RADIXLANG_NATIVE"]).parent / "peers" / "llama").glob("lib/*/site-packages/*/bin")
    folder = os.environ.get("RADIXLANG_LLAMA_BIN") or next(iter(installed), "")
    found = Path(folder) / "test-tokenizer-0"
    if not found.is_file():
        pytest.skip("no test-tokenizer-0 of llama.cpp")
    return found


@pytest.fixture(scope="module")
def vocabulary(default_model_path):
    """Our tokenizer.json of the default model, and what a GGUF of its vocabulary alone holds."""
    checkpoint = GgufCheckpoint(default_model_path)
    types = checkpoint.header.metadata["tokenizer.ggml.token_type"]
    tokens, merges = (checkpoint.strings(f"tokenizer.ggml.{key}") for key in ("tokens", "merges"))
    yield json.loads(tokenizer_json(checkpoint)), tokens, merges, types.tolist()
    checkpoint.close()


def write(path, pre, tokens, merges, types):
    writer = gguf.GGUFWriter(str(path), "llama")
    for add in (writer.add_context_length, writer.add_embedding_length, writer.add_feed_forward_length):
        add(64)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("pre", [name for name in KNOWN if name != "default"])
def test_ids_are_llama_cpps(program, vocabulary, pre, tmp_path):
    ours, *parts = vocabulary
    ours = {**ours, "normalizer": None, "pre_tokenizer": pre_tokenizer_json(pre, "here")}
    ours["model"] = {**ours["model"], "ignore_merges": merges_are_skipped_for_whole_tokens(pre)}
    library = Tokenizer.from_str(json.dumps(ours))
    path = tmp_path / "vocabulary.gguf"
    write(path, pre, *parts)
    lines = [" ".join(map(str, library.encode(text, add_special_tokens=False).ids)) for text in TEXTS]
    path.with_name(f"{path.name}.inp").write_text(APART.join(TEXTS))
    path.with_name(f"{path.name}.out").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [program, path], capture_output=True, text=True, errors="replace", timeout=60,
        env={**os.environ, "LD_LIBRARY_PATH": str(program.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
