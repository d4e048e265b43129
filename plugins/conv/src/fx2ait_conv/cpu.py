"""The convolution kernels of the target "cpu".

``conv2d_direct`` serves every geometry, ``conv2d_winograd`` 3x3 convolutions of stride 1 with
fewer products, ``conv2d_lanewise`` groups that are narrower than a vector. All take float32,
channels-last; the first and the last also the caller's own input in any float dtype and strides.
"""

from __future__ import annotations

from fx2ait_core.sdk import Kernel

from .cpu_direct import DIRECT
from .cpu_lanewise import LANEWISE
from .cpu_winograd import WINOGRAD

KERNELS: list[Kernel] = [DIRECT, WINOGRAD, LANEWISE]
