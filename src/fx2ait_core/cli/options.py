"""Options and arguments that several commands take."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ..errors import SettingsError
from ..settings import Settings

RecipeArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A name from `fx2ait recipes`, or the path of a .yaml file.")
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

_MACHINE, _MODEL = "Machine and caches", "Compilation"


@dataclass(frozen=True)
class MachineOptions:
    """What stands in for environment variables."""

    no_plugin: Annotated[
        list[str] | None,
        typer.Option(
            "--no-plugin", metavar="NAME", help="Leave out a plugin; repeatable.", rich_help_panel=_MACHINE
        ),
    ] = None
    no_kernel: Annotated[
        list[str] | None,
        typer.Option(
            "--no-kernel", metavar="NAME", help="Never choose a kernel; repeatable.", rich_help_panel=_MACHINE
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads of a cpu engine.", rich_help_panel=_MACHINE),
    ] = None
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            "--cache-dir", help="Folder of compiled code and tuned choices.", rich_help_panel=_MACHINE
        ),
    ] = None

    def settings(self) -> Settings:
        """The environment's settings with these options on top."""
        settings = Settings.from_environment(cache_dir=self.cache_dir, threads=self.threads)
        blocked = dict.fromkeys([*settings.disabled_plugins, *(self.no_plugin or ())])
        kernels = dict.fromkeys([*settings.disabled_kernels, *(self.no_kernel or ())])
        return replace(settings, disabled_plugins=tuple(blocked), disabled_kernels=tuple(kernels))


@dataclass(frozen=True)
class CompileOptions(MachineOptions):
    """How a recipe is compiled; what is given wins over the recipe."""

    target: Annotated[
        str | None,
        typer.Option("--target", help="cuda or cpu (default: the best one here)", rich_help_panel=_MODEL),
    ] = None
    arch: Annotated[
        str | None,
        typer.Option("--arch", help="Architecture, e.g. sm_90a; needs no such card.", rich_help_panel=_MODEL),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="fp16, bf16 or fp32.", rich_help_panel=_MODEL),
    ] = None
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch",
            metavar="SIZES",
            help="8 (only this), 1..64 (a range) or 1,8,32 (a range, tuned and measured at these).",
            rich_help_panel=_MODEL,
        ),
    ] = None
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Replace a field of the recipe, e.g. verify.samples=2; repeatable.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    no_tune: Annotated[
        bool,
        typer.Option(
            "--no-tune", help="Choose kernels by the heuristic, measure nothing.", rich_help_panel=_MODEL
        ),
    ] = False
    dump_ir: Annotated[
        Path | None,
        typer.Option(
            "--dump-ir", metavar="DIR", help="Write the graph after each pass.", rich_help_panel=_MODEL
        ),
    ] = None


@dataclass(frozen=True)
class BatchChoice:
    """The range that an engine accepts, and the sizes to tune and measure (empty: the recipe's)."""

    low: int
    high: int
    sizes: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> BatchChoice:
        """``"8"``, ``"1..64"`` or ``"1,8,32"``; raises :class:`~fx2ait_core.errors.SettingsError`."""
        if found := re.fullmatch(r"\s*(\d+)\s*\.\.\s*(\d+)\s*", text):
            low, high = int(found[1]), int(found[2])
            sizes: tuple[int, ...] = ()
        elif re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text):
            sizes = tuple(sorted({int(part) for part in text.split(",")}))
            low, high = sizes[0], sizes[-1]
        else:
            raise SettingsError(f"--batch {text!r} is not accepted; write 8, 1..64 or 1,8,32")
        if not 1 <= low <= high:
            raise SettingsError(f"--batch {text!r} is not accepted; sizes start at 1, the smaller one first")
        return cls(low, high, sizes)
