#!/usr/bin/env bash
# floor.sh FOLDER: puts the versions that pkgs/transformers.nix packages there, beside newer ones in .venv.
set -euo pipefail
cd "$(dirname "$0")/../../.."
wanted=(huggingface_hub==1.5.0)
for name in transformers diffusers tokenizers safetensors; do
  version=$(sed -n "/^  $name = /,/^  [})]/s/.* version = \"\([0-9.]*\)\";/\1/p" pkgs/transformers.nix)
  wanted+=("$name==$version")
done
rm -rf "$1"
.venv/bin/pip install --quiet --no-deps --target "$1" "${wanted[@]}"
