"""Quantised linears as other projects write them, read exactly: vLLM's packers and compressed-tensors' compressor.

Needs a Python with vllm and compressed-tensors: RADIXLANG_WRITERS_PYTHON, else the one that examples/bench's peers are
installed into; without either it is skipped.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from radixlang.runtime.weights.blocks import block_bytes
from radixlang.runtime.weights.quantised import Compact, QuantisedLinear, scheme_of

pytestmark = pytest.mark.slow
WRITER = Path(__file__).parent.parent / "fixtures" / "write_quantised.py"
GPTQ = {"quant_method": "gptq"}
CT = {"quant_method": "compressed-tensors"}
CASES = {
    "gptq-4": (GPTQ, "A4"),
    "gptq-8": ({**GPTQ, "bits": 8}, "A8"),
    "gptq-4-act-order": ({**GPTQ, "desc_act": True}, "A4"),
    "awq": ({"quant_method": "awq"}, "A4"),
    "ct-w4a16-group": (CT, "A4"),
    "ct-w4a16-group-asymmetric": (CT, "A4"),
    "ct-w4a16-channel": (CT, "A4"),
    "ct-w8a16-group": (CT, "A8"),
    "ct-w8a16-channel": (CT, "A8"),
    "ct-w4a16-tensor-asymmetric": (CT, "A4"),
    "ct-int8-group": (CT, "A8"),
    "ct-int8-channel-asymmetric": (CT, "A8"),
    "ct-fp8-channel": (CT, "BF16"),
    "ct-fp8-tensor": (CT, "BF16"),
}
"""What config.json says, and what the linear is computed on."""


@pytest.fixture(scope="module")
def written(tmp_path_factory, cache_of_the_tests):
    peers = Path(os.environ["RADIXLANG_NATIVE"]).parent / "peers" / "vllm" / "bin" / "python"
    python = Path(os.environ.get("RADIXLANG_WRITERS_PYTHON") or peers)
    if not python.is_file():
        pytest.skip("no Python with vllm and compressed-tensors")
    out = tmp_path_factory.mktemp("written") / "linears.npz"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, WRITER, out], capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(out)
    cases = {}
    for key in found.files:
        name, part = key.split("/")
        cases.setdefault(name, {})[part] = found[key]
    assert set(cases) == set(CASES)
    return cases


@pytest.mark.parametrize("name", CASES)
def test_what_they_write_is_what_is_read(written, name):
    config, form = CASES[name]
    parts = dict(written[name])
    wanted = parts.pop("wanted").astype(np.float32)
    linear = QuantisedLinear(scheme_of(config, name), parts, name)
    np.testing.assert_array_equal(linear.dense(), wanted)
    in_order = linear.form()
    found = linear.compact() if in_order is None else Compact(in_order)
    assert found.format == form
    if form == "BF16":
        return
    inputs_K = slice(None) if found.inputs_K is None else found.inputs_K
    blocks = linear.blocks(found).reshape(len(wanted), -1, block_bytes(form))
    codes, floats = blocks[:, :, :-8], np.ascontiguousarray(blocks[:, :, -8:]).view(np.float32)
    if form == "A4":
        codes = np.concatenate([codes & 15, codes >> 4], axis=2)
    read = (codes * floats[:, :, :1] + floats[:, :, 1:]).reshape(wanted.shape)
    offset = np.abs(floats[:, :, 1:]).max()  # rounded once: scale * zero
    np.testing.assert_allclose(read, wanted[:, inputs_K], rtol=0, atol=offset * 2**-22)
