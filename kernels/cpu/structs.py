"""Mirrors of the structs that cross the ABI: csrc/model.h, csrc/plan.h, csrc/burst.h,
csrc/guesses.h, csrc/step.h."""

from __future__ import annotations

import ctypes
import struct

import numpy as np

from .pack import Weight

_address, _i32, _i64, _f32 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_float

KV_TYPES = {"float32": 0, "bfloat16": 1, "float16": 2, "int8": 3}
ACTIVATIONS = {"silu": 0, "gelu": 1, "gelu_tanh": 2, "relu2": 3}
NORMS = {"rms": 0, "layer": 1}
QK_NORMS = {"none": 0, "head": 1, "full": 2}


class Norm(ctypes.Structure):
    """rx::Norm; a null weight leaves the norm out."""

    _fields_ = (("weight", _address), ("bias", _address))


class Rope(ctypes.Structure):
    """rx::Rope."""

    _fields_ = (
        ("frequencies", _address),
        ("dim", _i32),
        ("interleaved", _i32),
        ("magnitude", _f32),
        ("reserved", _i32),
    )


class Layer(ctypes.Structure):
    """rx::Layer."""

    _fields_ = (
        ("attention_norm", Norm),
        ("query_norm", Norm),
        ("key_norm", Norm),
        ("attention_post_norm", Norm),
        ("mlp_norm", Norm),
        ("mlp_post_norm", Norm),
        ("qkv", Weight),
        ("output", Weight),
        ("gate_up", Weight),
        ("down", Weight),
        ("window", _i32),
        ("rope", _i32),
    )


class Model(ctypes.Structure):
    """rx::Model."""

    _fields_ = (
        ("layers", _address),
        ("embedding", _address),
        ("head", _address),
        ("final_norm", Norm),
        ("ropes", Rope * 2),
        ("num_layers", _i32),
        ("hidden_size", _i32),
        ("intermediate_size", _i32),
        ("vocab_size", _i32),
        ("num_heads", _i32),
        ("num_kv_heads", _i32),
        ("head_dim", _i32),
        ("norm_kind", _i32),
        ("qk_norm", _i32),
        ("activation", _i32),
        ("norm_eps", _f32),
        ("attention_scale", _f32),
        ("attention_softcap", _f32),
        ("logit_scale", _f32),
        ("logit_softcap", _f32),
        ("embedding_multiplier", _f32),
        ("residual_multiplier", _f32),
        ("max_context", _i32),
    )


class StepOptions(ctypes.Structure):
    """rx::StepOptions."""

    _fields_ = (("num_threads", _i32), ("kv_type", _i32), ("max_tokens", _i32), ("reserved", _i32), ("num_slots", _i64))


_PLAN_ADDRESSES = (
    *("token_ids", "positions", "slots", "query_start", "kv_lens", "table_rows", "page_table", "kept_rows"),
    *("groups", "samples", "scores", "bias_ids", "bias_values", "penalty_ids", "penalty_counts", "logprob_ids"),
    *("masks", "hidden_rows", "adapters", "sequence_adapters"),
    *("sampled_ids", "logprobs", "top_ids", "top_logprobs", "id_logprobs", "hidden"),
)
_PLAN_SIZES = (
    *("num_tokens", "num_sequences", "table_height", "table_width", "num_groups", "num_samples", "num_scores"),
    *("num_masks", "mask_words", "num_hidden", "max_top", "num_biases", "num_penalties", "num_logprob_ids"),
    *("num_adapters", "num_kept"),
)


class Plan(ctypes.Structure):
    """rx::Plan."""

    _fields_ = (*((name, _address) for name in _PLAN_ADDRESSES), *((name, _i32) for name in _PLAN_SIZES))


LOOK = ctypes.CFUNCTYPE(ctypes.c_int32)
"""rx::BurstCall::look."""


MOST_GUESSED = 16
"""rx::kMostGuessed."""


class GuessCall(ctypes.Structure):
    """rx::GuessCall."""

    _fields_ = (
        ("predictor", _address),
        ("text", _address),
        ("length", _i32),
        ("num_learned", _i32),
        ("streak", _i32),
        ("most", _i32),
        ("num_steps", _i32),
        ("num_tries", _i32),
        ("num_guessed", _i32),
        ("num_right", _i32),
    )


class BurstCall(ctypes.Structure):
    """rx::BurstCall."""

    _fields_ = (
        ("end_ids", _address),
        ("halt", _address),
        ("look", LOOK),
        ("guesses", _address),
        ("num_rounds", _i32),
        ("num_end_ids", _i32),
        ("num_steps", _i32),
        ("num_run", _i32),
    )


SAMPLE = struct.Struct("=QQ iiii ddd fff i 6i")
"""rx::Sample: seed, counter, row, top_k, mask_row, num_top, temperature, top_p, min_p, frequency, presence, repetition
penalty, reserved, slices of biases, penalties and logprob_ids."""
SCORE = struct.Struct("=iiii 2i")
"""rx::Score: row, target, num_top, reserved, slice of logprob_ids."""
ADAPTER_PART = np.dtype([("down", "<u8"), ("up", "<u8"), ("rank", "<i4"), ("columns", "<i4")])
"""rx::AdapterPart."""


def check_sizes(library: ctypes.CDLL) -> None:
    """Asserts that these mirrors and the library's structs have the same sizes."""
    ours = [ctypes.sizeof(Model), ctypes.sizeof(Layer), ctypes.sizeof(Plan), SAMPLE.size, SCORE.size]
    ours += [ctypes.sizeof(StepOptions), ADAPTER_PART.itemsize]
    ours += [ctypes.sizeof(BurstCall), ctypes.sizeof(GuessCall)]
    theirs = [library.rx_struct_bytes(i) for i in range(len(ours))]
    assert ours == theirs, f"structs of csrc/ and structs.py differ: {theirs} against {ours} bytes"
