"""What capture hands on: a functional ATen graph with its tensors, symbols and names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..ir.dims import DimRange
from ..ir.dtypes import DType
from ..ir.value import Constant


@dataclass(frozen=True)
class CapturedProgram:
    """A model as one FX graph of ATen calls.

    ``constants`` maps placeholder names to IR constants; parameters that the model shares are
    one constant. ``symbol_names`` maps the exporter's symbols (``s77``) to the declared names.
    ``output_structure`` is the tree of the model's output, in PyTorch's serialized form.
    """

    name: str
    graph: torch.fx.Graph
    constants: Mapping[str, Constant]
    input_names: Mapping[str, str]
    output_dtypes: tuple[DType, ...]
    output_structure: str
    symbols: Mapping[str, DimRange]
    symbol_names: Mapping[str, str]
