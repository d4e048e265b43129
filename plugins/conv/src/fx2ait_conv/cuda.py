"""CUDA kernels of convolution."""

from __future__ import annotations

from fx2ait_core.sdk import Kernel

from . import cuda_depthwise, cuda_gather, cuda_mma, cuda_simt, cuda_strip
from .cuda_halo import CONV2D_HALO
from .cuda_sum import CONV2D_SUM_WGMMA
from .cuda_wgmma import CONV2D_WGMMA

KERNELS: list[Kernel] = [
    CONV2D_HALO,
    CONV2D_WGMMA,
    CONV2D_SUM_WGMMA,
    *cuda_mma.KERNELS,
    *cuda_gather.KERNELS,
    *cuda_strip.KERNELS,
    *cuda_depthwise.KERNELS,
    *cuda_simt.KERNELS,
]
