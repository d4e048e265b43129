"""Finding the compilers: ``g++``, ``nvcc`` of a CUDA toolkit, ``nvcc`` of the PyPI packages."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import ToolchainError
from ..settings import Settings, compiler_environment
from .process import run

CUDA_EXTRA = "pip install 'fx2ait-core[cuda]'"

# What nvcc needs of each PyPI package, below site-packages/nvidia/cu<major>.
_CUDA_PACKAGES = {
    "nvidia-cuda-nvcc": "bin/ptxas",
    "nvidia-cuda-crt": "include/crt/host_config.h",
    "nvidia-nvvm": "nvvm/bin/cicc",
    "nvidia-cuda-runtime": "lib/libcudart_static.a",
    "nvidia-cuda-cccl": "include/cccl",
}


@dataclass(frozen=True)
class Compiler:
    """A compiler that was found and answers.

    :param path: the program.
    :param version: e.g. ``"13.0.88"``.
    :param identity: text that differs between compilers that may produce different code.
    :param flags: needed at every call, before those of the target.
    :param link_flags: needed when linking.
    :param origin: where it was found, for people.
    """

    path: Path
    version: str
    identity: str
    flags: tuple[str, ...] = ()
    link_flags: tuple[str, ...] = ()
    origin: str = "PATH"

    def __str__(self) -> str:
        return f"{self.path.name} {self.version} ({self.path}, {self.origin})"


def find_compiler(source_suffix: str, settings: Settings) -> Compiler:
    """The compiler for sources of a target, by their suffix (``".cpp"``, ``".cu"``).

    Raises :class:`~fx2ait_core.errors.ToolchainError` with a one-line mend.
    """
    return find_nvcc(settings) if source_suffix == ".cu" else find_cxx(settings)


def find_cxx(settings: Settings) -> Compiler:
    """``settings.cxx``, else ``g++`` on the search path.

    Raises :class:`~fx2ait_core.errors.ToolchainError` when there is none, or it does not run.
    """
    wanted = settings.cxx or "g++"
    path = shutil.which(wanted, path=settings.search_path)
    if path is None:
        mend = f"correct CXX={wanted!r}" if settings.cxx else "install one, e.g. `apt-get install g++`"
        raise ToolchainError(f"No C++ compiler: {wanted} is not on PATH; {mend}.")
    text = _version_text(Path(path))
    number = re.search(r"\d+\.\d+(\.\d+)?", text.splitlines()[0].rpartition(")")[2] or text)
    return Compiler(Path(path), number.group() if number else "unknown", text)


def find_nvcc(settings: Settings, site_folders: Sequence[Path] | None = None) -> Compiler:
    """``nvcc`` of ``CUDA_HOME``, of the search path, of the PyPI packages, or of ``/usr/local/cuda``.

    :param site_folders: folders that hold ``cu<major>`` (default: those of the ``nvidia`` packages).

    Raises :class:`~fx2ait_core.errors.ToolchainError` when there is none, when a part of it is
    missing, or when the host compiler it needs is.
    """
    host = find_cxx(settings)
    path, origin, root = _locate_nvcc(settings, site_folders)
    text = _version_text(path)
    number = re.search(r"V(\d+\.\d+\.\d+)", text)
    # A toolkit keeps its libraries in lib64, where nvcc looks; the packages keep them in lib.
    link = ("-L" + str(root / "lib"),) if root is not None else ()
    return Compiler(
        path,
        number.group(1) if number else "unknown",
        f"{text}\n{host.identity}",
        flags=("-ccbin", str(host.path)) if settings.cxx else (),
        link_flags=link,
        origin=origin,
    )


def _locate_nvcc(settings: Settings, site_folders: Sequence[Path] | None) -> tuple[Path, str, Path | None]:
    """Path, origin, and the packages' root where it comes from PyPI."""
    if settings.cuda_home is not None:
        path = settings.cuda_home / "bin" / "nvcc"
        if path.is_file():
            return path, "CUDA_HOME", None
    if found := shutil.which("nvcc", path=settings.search_path):
        return Path(found), "PATH", None
    partial: tuple[Path, list[str]] | None = None
    for root in _package_roots(site_folders):
        if not (root / "bin" / "nvcc").is_file():
            continue
        missing = [name for name, part in _CUDA_PACKAGES.items() if not (root / part).exists()]
        if not missing:
            return root / "bin" / "nvcc", "PyPI", root
        partial = partial or (root, missing)
    usual = Path("/usr/local/cuda/bin/nvcc")
    if usual.is_file():
        return usual, "/usr/local/cuda", None
    if partial is not None:
        raise ToolchainError(
            f"nvcc of {partial[0]} lacks {', '.join(partial[1])}; run `{CUDA_EXTRA}`, "
            "which installs all parts at one version."
        )
    home = f"CUDA_HOME={settings.cuda_home} holds no bin/nvcc, and " if settings.cuda_home else ""
    raise ToolchainError(
        f"No CUDA compiler: {home}none is on PATH or among the Python packages; install a CUDA toolkit, "
        f"or run `{CUDA_EXTRA}`."
    )


def _package_roots(site_folders: Sequence[Path] | None) -> list[Path]:
    """``site-packages/nvidia/cu<major>`` folders, the newest CUDA first."""
    if site_folders is None:
        spec = find_spec("nvidia")
        site_folders = [Path(f) for f in (spec.submodule_search_locations if spec else None) or ()]
    roots = [root for folder in site_folders for root in folder.glob("cu[0-9]*")]
    return sorted(roots, key=lambda root: (-int(re.sub(r"\D", "", root.name)), str(root)))


def _version_text(path: Path) -> str:
    try:
        finished = run([path, "--version"], environment=compiler_environment())
    except OSError as error:
        raise ToolchainError(f"{path} cannot be run ({error.strerror}); install it anew.") from error
    if finished.code != 0 or not finished.output.strip():
        words = finished.output.strip()[-300:] or "no output"
        raise ToolchainError(f"`{path} --version` fails with code {finished.code}: {words}. Install it anew.")
    return finished.output.strip()


def native_identity(compiler: Compiler, flags: Sequence[str]) -> str:
    """What ``-march=native`` stands for on this machine, so that caches may be shared between machines.

    Empty when no flag says ``native``.
    """
    native = [flag for flag in flags if flag in ("-march=native", "-mtune=native", "-mcpu=native")]
    if not native:
        return ""
    finished = run([compiler.path, *native, "-Q", "--help=target"], environment=compiler_environment())
    return hashlib.sha256(finished.output.encode()).hexdigest()
