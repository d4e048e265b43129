"""ResNets on an NVIDIA GPU: the engine beside PyTorch, in one process.

    python benchmarks/h100.py [--models resnet18,resnet50] [--batches 1,8,16,32,256,512] [--out DIR]

Needs a GPU, nvcc and torch; runs from a checkout, installed or not. Writes DIR/<card>-<model>.json,
DIR/<card>-<model>-layers.json and a summary beside them, after each section. See benchmarks/README.md.
"""

from __future__ import annotations

import sys

from checkout import use_checkout
from measure import measure
from wishes import wishes

if __name__ == "__main__":
    use_checkout()
    sys.exit(
        measure(
            wishes(
                "cuda",
                __doc__,
                models="resnet18",
                batches="1,8,16,32,256,512",
                rounds=20,
                compile_modes="reduce-overhead,max-autotune",
                other_archs="sm_80",
                other_precisions="bf16",
                repeats=1000,
            )
        )
    )
