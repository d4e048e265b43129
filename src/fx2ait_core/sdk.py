"""All that a plugin may import from the core.

Names here are stable within a contract version (:data:`CONTRACT_VERSION`).
"""

from .emit.launcher import c_type, epilogue_access
from .emit.templates import Templates
from .errors import ConversionError, Decline, IRError
from .extend.call import Call
from .extend.contributions import (
    Candidate,
    Converter,
    Kernel,
    KernelSource,
    Pass,
    PassContext,
    PointwiseExpression,
    RecipeFolder,
)
from .extend.problem import OperandSpec, Problem
from .extend.specs import CONTRACT_VERSION, hookimpl
from .ir.dims import Dim, DimRange, Shape, c_expression, element_count, evaluate, floor_div, is_static
from .ir.dtypes import DType
from .ir.graph import Graph
from .ir.layouts import Layout, channels_last, row_major
from .ir.operator import (
    NO_ATTRIBUTES,
    Attributes,
    Operator,
    Origin,
    PointwiseOperator,
    broadcast,
    pointwise_operator,
)
from .ir.pointwise import PointwiseProgram, PointwiseStep
from .ir.positions import positions_read
from .ir.traits import (
    AbsorbsWindows,
    AffineChannels,
    ChannelsLast,
    Epilogue,
    Pointwise,
    ReducesWindows,
    RowMajor,
    Trait,
    View,
)
from .ir.types import TensorType, tensor_type
from .ir.value import Constant, Input, Value
from .ir.window import WindowReduction
from .target.backend import Backend
from .target.target import Target

__all__ = [
    "CONTRACT_VERSION",
    "NO_ATTRIBUTES",
    "AbsorbsWindows",
    "AffineChannels",
    "Attributes",
    "Backend",
    "Call",
    "Candidate",
    "ChannelsLast",
    "Constant",
    "ConversionError",
    "Converter",
    "DType",
    "Decline",
    "Dim",
    "DimRange",
    "Epilogue",
    "Graph",
    "IRError",
    "Input",
    "Kernel",
    "KernelSource",
    "Layout",
    "OperandSpec",
    "Operator",
    "Origin",
    "Pass",
    "PassContext",
    "Pointwise",
    "PointwiseExpression",
    "PointwiseOperator",
    "PointwiseProgram",
    "PointwiseStep",
    "Problem",
    "RecipeFolder",
    "ReducesWindows",
    "RowMajor",
    "Shape",
    "Target",
    "Templates",
    "TensorType",
    "Trait",
    "Value",
    "View",
    "WindowReduction",
    "broadcast",
    "c_expression",
    "c_type",
    "channels_last",
    "element_count",
    "epilogue_access",
    "evaluate",
    "floor_div",
    "hookimpl",
    "is_static",
    "pointwise_operator",
    "positions_read",
    "row_major",
    "tensor_type",
]
