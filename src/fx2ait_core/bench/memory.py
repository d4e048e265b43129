"""Memory beside the weights: what an engine plans for it, and what PyTorch takes."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .rivals import Contender, forget_compiled

_RUNS = 3


def engine_bytes(manifest: Mapping[str, Any], batch: int) -> int:
    """Bytes of activations and workspaces that an engine needs at ``batch``: those of the smallest bucket
    that serves it. (The engine allocates those of its largest bucket, once.)"""
    fitting = [
        bucket["arena"] + bucket["workspace"]
        for bucket in manifest["memory"]["buckets"]
        if all(batch <= size for size in bucket["sizes"].values())
    ]
    if not fitting:
        raise ValueError(f"{manifest['name']} serves no batch of {batch}")
    return int(min(fitting))


def torch_bytes(rival: Contender, model: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> int:
    """Bytes that PyTorch takes on the GPU to run ``model`` in the way of ``rival``, weights and inputs left
    out: the peak of what is allocated during a run, or what its allocator keeps for a recorded graph, where
    that is more.
    """
    device = inputs[0].device
    if rival.compile_mode:
        forget_compiled()
    _settle()
    before_reserved, before = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
    path = rival.prepare(model, inputs, device)
    _settle()
    resting = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    with torch.no_grad(), path.context():
        for _ in range(_RUNS):
            path.call()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - resting
    _settle()
    kept = (torch.cuda.memory_reserved(device) - before_reserved) - (resting - before)
    return max(peak, kept)


def _settle() -> None:
    """Give back what nothing uses any more."""
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
