"""Channel shuffle: an operator, its converter, and one kernel per target."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fx2ait_core.sdk import (
    Attributes,
    Call,
    Candidate,
    ChannelsLast,
    Converter,
    Decline,
    DType,
    Epilogue,
    IRError,
    Kernel,
    KernelSource,
    Operator,
    Problem,
    Templates,
    TensorType,
    c_type,
    element_count,
    tensor_type,
)

TEMPLATES = Templates(__package__)


@dataclass(frozen=True)
class ChannelShuffleAttributes(Attributes):
    """``groups`` divides the channels."""

    groups: int


class ChannelShuffle(Operator):
    """``[N, C, H, W]`` with channel ``g * (C / groups) + i`` moved to ``i * groups + g``.

    With the trait ``Epilogue`` activations behind it are fused; with ``ChannelsLast`` it is given
    NHWC memory, so that no conversion stands between it and a convolution.
    """

    kind = "mish.channel_shuffle"
    traits = (Epilogue(), ChannelsLast())

    @classmethod
    def infer(
        cls, operands: Sequence[TensorType], attributes: ChannelShuffleAttributes
    ) -> tuple[TensorType, ...]:
        (source,) = operands
        if source.rank != 4 or not isinstance(source.shape[1], int):
            raise IRError(f"{cls.kind}: input {source} must be [N, C, H, W] with static C")
        if attributes.groups < 1 or source.shape[1] % attributes.groups:
            raise IRError(f"{cls.kind}: groups={attributes.groups} does not divide the channels of {source}")
        return (tensor_type(source.shape, source.dtype),)


def _supports_call(call: Call) -> Decline | None:
    if not call["self"].type.dtype.is_floating:
        return Decline(f"only floating point is shuffled, not {call['self'].type.dtype}")
    try:
        ChannelShuffle.infer([call["self"].type], ChannelShuffleAttributes(call["groups"]))
    except IRError as error:
        return Decline(str(error))
    return None


CONVERTER = Converter(
    "aten.channel_shuffle.default",
    lambda call: call.emit(ChannelShuffle, [call["self"]], ChannelShuffleAttributes(call["groups"])),
    _supports_call,
)


@dataclass(frozen=True)
class ThreadsConfig:
    """Threads per block; the CPU ignores it."""

    threads: int

    def __str__(self) -> str:
        return f"{self.threads} threads"


def _supports(problem: Problem) -> Decline | None:
    dtypes = {problem.operands[0].type.dtype, problem.result.dtype}
    if not dtypes <= {DType.float32, DType.float16, DType.bfloat16}:
        return Decline(f"{' and '.join(sorted(map(str, dtypes)))} are not all of at most 32 bits")
    return None


def _candidates(problem: Problem) -> list[Candidate]:
    moved_bytes = problem.size(problem.operands[0].type.byte_count) + problem.size(problem.result.byte_count)
    bytes_per_us = problem.target["memory_gbps"] * 1e3 * 0.5 if problem.target.name == "cuda" else 4e3
    sizes = (128, 256, 512) if problem.target.name == "cuda" else (1,)
    return [Candidate(ThreadsConfig(threads), 2 + moved_bytes / bytes_per_us) for threads in sizes]


def _groups(problem: Problem) -> int:
    assert isinstance(problem.attributes, ChannelShuffleAttributes)
    return problem.attributes.groups


def _label(problem: Problem, config: ThreadsConfig) -> str:
    return f"channel_shuffle_{problem.result.shape[1]}_groups{_groups(problem)}"


def _emitter(template: str) -> Callable[[str, Problem, ThreadsConfig], KernelSource]:
    def emit(name: str, problem: Problem, config: ThreadsConfig) -> KernelSource:
        text = TEMPLATES.kernel(
            template,
            name,
            problem,
            input_type=c_type(problem.operands[0].type, problem),
            channels=problem.result.shape[1],
            groups=_groups(problem),
            pixels=element_count((problem.result.shape[0], *problem.result.shape[2:])),
            threads=config.threads,
        )
        return KernelSource(text)

    return emit


KERNELS = [
    Kernel(
        name=f"channel_shuffle_{target}",
        operator=ChannelShuffle.kind,
        target=target,
        supports=_supports,
        candidates=_candidates,
        emit=_emitter(template),
        label=_label,
    )
    for target, template in (("cpu", "channel_shuffle.cpp.jinja"), ("cuda", "channel_shuffle.cu.jinja"))
]
