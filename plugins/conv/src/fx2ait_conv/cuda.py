"""CUDA kernels of convolution."""

from __future__ import annotations

from fx2ait_core.sdk import Kernel

from . import cuda_mma
from .cuda_wgmma import CONV2D_WGMMA

KERNELS: list[Kernel] = [CONV2D_WGMMA, *cuda_mma.KERNELS]
