"""ResNets on the CPU: the engine beside PyTorch, in one process.

    python benchmarks/cpu.py [--models resnet18] [--batches 1,32] [--threads 2] [--out DIR]

Needs g++ and torch; runs from a checkout, installed or not. Writes DIR/<processor>-<model>.json and
a summary beside it.
"""

from __future__ import annotations

import sys

from checkout import use_checkout
from measure import measure, wanted

if __name__ == "__main__":
    use_checkout()
    sys.exit(measure(wanted("cpu", __doc__, "resnet18", "1,32", rounds=7)))
