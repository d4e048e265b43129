"""The schema of a recipe: strict, frozen, published as JSON Schema for editors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, model_validator

Text: TypeAlias = Annotated[str, Strict(), Field(min_length=1)]
Count: TypeAlias = Annotated[int, Strict(), Field(ge=1)]
Limit: TypeAlias = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
Precision: TypeAlias = Literal["fp16", "bf16", "fp32"]
InputDType: TypeAlias = Literal["float32", "float16", "bfloat16", "int64", "int32", "bool"]

Item = TypeVar("Item")
PerTarget: TypeAlias = Item | dict[str, Item]
"""One value for all targets, or one for each target by name."""


def _symbol(text: str) -> str:
    if not text.isidentifier():
        raise ValueError(f"{text!r} is neither a size nor the name of a dynamic symbol")
    return text


def _model_path(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", text):
        raise ValueError(f"{text!r} does not read 'package.module:callable'")
    return text


Symbol: TypeAlias = Annotated[str, Strict(), AfterValidator(_symbol)]


class Section(BaseModel):
    """Base of all parts: unknown keys are errors, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class InputSection(Section):
    """One positional input of the model."""

    name: Text
    """Name of the input in the engine."""
    shape: tuple[Count | Symbol, ...]
    """Sizes, or names of dynamic symbols, e.g. `[batch, 3, 224, 224]`."""
    dtype: InputDType = "float32"
    """Element type."""


class DynamicSection(Section):
    """The range of a dynamic symbol."""

    min: Count = 1
    """Smallest size."""
    max: Count
    """Largest size."""
    tune: PerTarget[tuple[Count, ...]] = ()
    """Sizes that kernels are chosen for; one list, or one by target."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        for size in _sizes(self.tune):
            if not self.min <= size <= self.max:
                raise ValueError(f"tune size {size} lies outside {self.min}..{self.max}")
        return self


class CalibrateSection(Section):
    """Running statistics measured on random data, so that a test does not see the defaults 0 and 1."""

    batches: Annotated[int, Strict(), Field(ge=0)] = 4
    """Random batches; 0 leaves the statistics as they are."""
    batch_size: Count = 8
    """Size of each batch, where the batch is dynamic."""


class VerifySection(Section):
    """How many fresh random samples are compared with the model, and what difference is accepted."""

    samples: Count = 8
    """Samples compared."""
    max_relative_error: PerTarget[Limit] = 1.0e-2
    """Largest accepted relative L2 error of any output; one limit, or one by precision or target."""
    max_absolute_error: Limit | None = None
    """Largest accepted absolute error of any element."""
    min_top1_agreement: Annotated[float, Strict(), Field(ge=0, le=1)] | None = None
    """Smallest accepted share of samples whose largest class is the model's."""

    def relative_limit(self, target: str, precision: str) -> float:
        """``max_relative_error`` of an engine: by its precision (``"fp16"``), else by its target, else the
        default."""
        limits = self.max_relative_error
        if not isinstance(limits, dict):
            return limits
        return limits.get(precision, limits.get(target, 1.0e-2))


class BenchmarkSection(Section):
    """What is measured."""

    batch: PerTarget[tuple[Count, ...]] = (1,)
    """Batch sizes; one list, or one by target."""
    rounds: Count = 20
    """Interleaved rounds; medians are taken over them."""


class Recipe(Section):
    """A model, its inputs, and how to compile, verify and measure it."""

    name: Annotated[str, Strict(), Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
    """Name of the recipe and of its engine: lower case, digits, `_`, `.` and `-`."""
    description: Annotated[str, Strict()] = ""
    """One line for lists."""
    model: Annotated[str, Strict(), AfterValidator(_model_path)]
    """`package.module:callable` that returns a `torch.nn.Module`."""
    kwargs: dict[Text, Any] = {}
    """Keyword arguments of the callable."""
    weights: Text | None = None
    """A `.safetensors` file, or a `.pth` or `.pt` file of tensors; relative to the recipe."""
    seed: Annotated[int, Strict(), Field(ge=0)] = 0
    """Seed of random weights and of calibration, which make a recipe reproducible."""
    inputs: Annotated[tuple[InputSection, ...], Field(min_length=1)]
    """Inputs in the order of the model's positional arguments."""
    dynamic: dict[Symbol, DynamicSection] = {}
    """Ranges of the symbols that occur in the inputs' shapes."""
    precision: PerTarget[Precision] | None = None
    """Precision inside the engine; by default fp16 on cuda, fp32 on cpu."""
    target: Text | None = None
    """`cuda` or `cpu`; by default the best one here."""
    tuning: Annotated[bool, Strict()] = True
    """Measure kernel candidates on the device where there is one."""
    calibrate: CalibrateSection = CalibrateSection()
    verify: VerifySection = VerifySection()
    benchmark: BenchmarkSection = BenchmarkSection()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [item.name for item in self.inputs]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"inputs share the name {', '.join(repeated)}")
        used = {dim for item in self.inputs for dim in item.shape if isinstance(dim, str)}
        if missing := sorted(used - set(self.dynamic)):
            raise ValueError(f"no range in 'dynamic' for the symbol {', '.join(missing)} of the inputs")
        if unused := sorted(set(self.dynamic) - used):
            raise ValueError(f"the symbol {', '.join(unused)} of 'dynamic' occurs in no input")
        return self


def for_target(value: PerTarget[Item] | None, target: str) -> Item | None:
    """The part of ``value`` meant for ``target``; None where there is none."""
    return value.get(target) if isinstance(value, dict) else value


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fx2ait recipe",
        **{key: value for key, value in Recipe.model_json_schema().items() if key != "title"},
    }


def _sizes(value: PerTarget[tuple[int, ...]]) -> Iterator[int]:
    for sizes in value.values() if isinstance(value, dict) else (value,):
        yield from sizes
