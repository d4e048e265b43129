"""Capture: a PyTorch model to a functional ATen graph."""

from .batch import BATCH, batch_dimensions
from .export import capture, names_of_inputs
from .program import CapturedProgram

__all__ = ["BATCH", "CapturedProgram", "batch_dimensions", "capture", "names_of_inputs"]
