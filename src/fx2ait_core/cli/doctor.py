"""``fx2ait doctor``: what this machine has, and the one line that mends what it lacks."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from ..errors import Fx2aitError
from ..extend.report import FIRST_PARTY, INSTALL_HINT
from ..report.columns import text_cells
from ..report.tables import table
from ..settings import Settings
from .command import command
from .installed import installed_plugins
from .options import JsonOption, MachineOptions
from .output import show

MINIMUM_PYTHON = (3, 11)
MISSING = 1


@dataclass(frozen=True)
class Check:
    """One thing looked for.

    :param found: what is there; None when it is missing.
    :param needed: whether anything fails without it on this machine.
    :param mend: the line that brings it.
    """

    name: str
    found: str | None
    needed: bool = True
    mend: str = ""

    @property
    def status(self) -> str:
        return "ok" if self.found is not None else "missing" if self.needed else "absent"


@command
def doctor(options: MachineOptions, json: JsonOption = False) -> None:
    """Say what is here, what is missing, and how to get it. Exit code 1 if something needed is missing.

    Example:

        fx2ait doctor
    """
    checks = list(examine(options.settings()))
    rows = [(check.status, check.name, check.found or check.mend) for check in checks]
    value = [
        {"name": c.name, "status": c.status, "found": c.found, "needed": c.needed, "mend": c.mend}
        for c in checks
    ]
    show(json, value, lambda: [table(text_cells(("", "", "found, or what to do"), rows))])
    if any(check.status == "missing" for check in checks):
        raise typer.Exit(MISSING)


def examine(settings: Settings) -> Iterator[Check]:
    """All checks, in the order in which things are needed."""
    version = sys.version.split()[0]
    yield Check(
        "python",
        version if sys.version_info >= MINIMUM_PYTHON else None,
        mend="install Python 3.11 or newer, then make the virtual environment again",
    )
    yield _torch()
    yield from _toolchain(settings)
    yield from _plugins(settings)
    yield _writable(settings.cache_dir)


def _torch() -> Check:
    try:
        import torch  # noqa: PLC0415  # seconds, and it may be what is broken
    except (ImportError, OSError) as error:
        return Check("torch", None, mend=f"run `pip install 'torch>=2.11'` ({error})")
    return Check("torch", str(torch.__version__))


def _toolchain(settings: Settings) -> Iterator[Check]:
    from ..build.ninja_run import find_ninja  # noqa: PLC0415
    from ..build.toolchain import find_cxx, find_nvcc  # noqa: PLC0415

    yield _sought("C++ compiler", lambda: str(find_cxx(settings)))
    yield _sought("ninja", lambda: str(find_ninja(settings)))
    gpu = _gpu()
    yield gpu
    yield _sought("CUDA compiler", lambda: str(find_nvcc(settings)), needed=gpu.found is not None)


def _gpu() -> Check:
    from ..bench.nvml import card  # noqa: PLC0415

    seen = card()
    if seen is None:
        return Check(
            "GPU", None, needed=False, mend="none found; engines run on the cpu (a GPU needs NVIDIA's driver)"
        )
    found = f"{seen.name}, driver {seen.driver}"
    try:
        import torch  # noqa: PLC0415
    except (ImportError, OSError):
        return Check("GPU", found)
    if not torch.cuda.is_available():
        mend = f"{found}, but torch {torch.__version__} cannot use it: install a CUDA build of torch"
        return Check("GPU", None, mend=mend)
    return Check("GPU", found)


def _plugins(settings: Settings) -> Iterator[Check]:
    plugins = installed_plugins(settings)
    for row in plugins.rows:
        if row.status in ("failed", "conflict"):
            mend = f"{row.cause}; mend it, or block it with --no-plugin {row.distribution}"
            yield Check(f"plugin {row.name}", None, mend=mend)
    usable = [row.name for row in plugins.rows if row.contributions]
    lacking = [name for name in FIRST_PARTY if name not in usable]
    yield Check("plugins", ", ".join(usable) or None, mend=INSTALL_HINT)
    if usable and lacking:
        yield Check(
            "first-party plugins",
            None,
            needed=False,
            mend=f"not in use: {', '.join(lacking)} (`pip install -r requirements.txt` installs all)",
        )
    for backend in plugins.registry.backends:
        name, reason = backend.value.name, backend.value.available(settings)
        found = "usable" if reason is None else None
        yield Check(f"target {name}", found, needed=name == "cpu", mend=reason or "")


def _writable(folder: Path) -> Check:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(
            "cache",
            None,
            needed=False,
            mend=f"{folder} cannot be written ({error.strerror}): set FX2AIT_CACHE_DIR or --cache-dir",
        )
    return Check("cache", str(folder))


def _sought(name: str, find: Callable[[], str], needed: bool = True) -> Check:
    try:
        return Check(name, find(), needed)
    except Fx2aitError as error:
        return Check(name, None, needed, str(error))
