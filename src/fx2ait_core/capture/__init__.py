"""Capture: a PyTorch model to a functional ATen graph."""

from .export import BATCH, capture
from .program import CapturedProgram

__all__ = ["BATCH", "CapturedProgram", "capture"]
