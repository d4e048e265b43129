"""ResNets on an NVIDIA GPU: the engine beside PyTorch, in one process.

    python benchmarks/h100.py [--models resnet18,resnet50] [--batches 1,8,16,32,256,512] [--out DIR]

Needs a GPU, nvcc and torch; runs from a checkout, installed or not. Writes DIR/<card>-<model>.json
and a summary beside it.
"""

from __future__ import annotations

import sys

from checkout import use_checkout
from measure import measure, wanted

if __name__ == "__main__":
    use_checkout()
    sys.exit(measure(wanted("cuda", __doc__, "resnet18", "1,8,16,32,256,512", rounds=20)))
