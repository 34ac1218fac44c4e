"""The attention that transformers' models call, beside the reference attention of our own decoder."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
masking = pytest.importorskip("transformers.masking_utils")

from radixlang.errors import UnsupportedModel  # noqa: E402
from radixlang.kernels.reference.attention import attention as reference  # noqa: E402
from radixlang.kernels.reference.batch import Extend, PackedBatch, padded_slots  # noqa: E402
from radixlang.runtime.model import transformers_hooks as hooks  # noqa: E402


class Layer:
    layer_idx = 3


def run(mask, *, dtype=torch.float32, value_dim=8, **options):
    """(found, K and V as written, batch, q): three sequences, one of them decoding, over scattered slots."""
    torch.manual_seed(0)
    slots = np.random.default_rng(0).permutation(64).astype(np.int32)
    parts = [(0, 9, slots[:9]), (9, 10, slots[10:23]), (10, 14, slots[30:50])]  # rows, and the slots of the sequence
    positions = torch.tensor([*range(9), 12, *range(16, 20)])
    batch = PackedBatch([Extend(a, b, torch.from_numpy(padded_slots(s)).long()) for a, b, s in parts], positions)
    written = torch.from_numpy(np.concatenate([s[len(s) - (b - a) :] for a, b, s in parts])).long()
    pool = hooks.LazyKvPool(64, dtype)
    before = torch.arange(64)
    pool.write(3, torch.randn(64, 2, 8), torch.randn(64, 2, value_dim), before)
    q, k, v = torch.randn(1, 4, 14, 8), torch.randn(1, 2, 14, 8), torch.randn(1, 2, 14, value_dim)
    token = hooks.current_step.set(hooks.PackedStep(batch, written, pool))
    try:
        found, weights = hooks.attention(Layer, q, k, v, mask, **options)
    finally:
        hooks.current_step.reset(token)
    assert weights is None
    return found[0], pool.write(3, k[0].transpose(0, 1), v[0].transpose(0, 1), written), batch, q[0].transpose(0, 1)


def rule(function):
    return hooks.MaskRule(function)


@pytest.mark.parametrize("softcap", [None, 0.7])
@pytest.mark.parametrize("window", [0, 5])
def test_it_is_the_reference_attention(window, softcap):
    mask = masking.sliding_window_causal_mask_function(window) if window else masking.causal_mask_function
    found, kv, batch, q = run(rule(mask), scaling=0.3, softcap=softcap)
    both = torch.cat([kv.k_SKD, kv.v_SKD], dim=1)
    wanted = reference(q, both, None, batch, scale=0.3, window=window, softcap=softcap or 0.0)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_without_a_mask_it_is_causal():
    torch.testing.assert_close(run(None)[0], run(rule(masking.causal_mask_function))[0])


def test_chunks_see_their_own_chunk():
    chunked = masking.chunked_causal_mask_function(4, torch.zeros(1, dtype=torch.long))
    found = run(rule(chunked))[0]
    windowed = run(rule(masking.sliding_window_causal_mask_function(1)))[0]
    torch.testing.assert_close(found[4], windowed[4])  # position 4 begins a chunk: it sees itself alone
    assert not torch.allclose(found[5], windowed[5])


def test_a_sink_takes_its_share():
    plain, sunk = run(None)[0], run(None, s_aux=torch.full((4,), 50.0))[0]
    assert float(sunk.abs().max()) < 1e-3 < float(plain.abs().max())
    torch.testing.assert_close(run(None, s_aux=torch.full((4,), -50.0))[0], plain)


def test_values_may_be_narrower_than_keys():
    assert run(None, value_dim=6)[0].shape == (14, 4, 6)


def test_eight_bits_a_value_are_close():
    plain, packed = run(None)[0], run(None, dtype=torch.int8)[0]
    assert 0 < float((plain - packed).abs().max()) < 0.05


def test_masks_of_a_models_own_are_refused():
    with pytest.raises(UnsupportedModel, match="a mask of its own"):
        run(torch.zeros(1, 1, 14, 14))
    with pytest.raises(UnsupportedModel, match="does not broadcast"):
        hooks._mask(mask_function=masking.causal_mask_function, use_vmap=True)
