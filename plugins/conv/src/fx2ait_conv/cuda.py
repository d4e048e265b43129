"""CUDA kernels of convolution."""

from __future__ import annotations

from fx2ait_core.sdk import Kernel

from . import cuda_depthwise, cuda_gather, cuda_mma, cuda_simt, cuda_strip
from .cuda_wgmma import CONV2D_WGMMA

KERNELS: list[Kernel] = [
    CONV2D_WGMMA,
    *cuda_mma.KERNELS,
    *cuda_gather.KERNELS,
    *cuda_strip.KERNELS,
    *cuda_depthwise.KERNELS,
    *cuda_simt.KERNELS,
]
