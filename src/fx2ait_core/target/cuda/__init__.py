"""The CUDA target."""

from .backend import CudaBackend

__all__ = ["CudaBackend"]
