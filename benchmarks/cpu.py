"""ResNets on the CPU: the engine beside PyTorch, in one process.

    python benchmarks/cpu.py [--models resnet18] [--batches 1,32] [--threads 2] [--out DIR]

Needs g++ and torch; runs from a checkout, installed or not. Writes DIR/<processor>-<model>.json,
DIR/<processor>-<model>-layers.json and a summary beside them, after each section.
"""

from __future__ import annotations

import sys

from checkout import use_checkout
from measure import measure
from wishes import wishes

if __name__ == "__main__":
    use_checkout()
    sys.exit(measure(wishes("cpu", __doc__, models="resnet18", batches="1,32", rounds=7, repeats=20)))
