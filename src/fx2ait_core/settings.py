"""Settings: one frozen object, passed explicitly; the only reader of ``os.environ``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import platformdirs

from .errors import SettingsError

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("", "0", "false", "no", "off")


def usable_processors() -> int:
    """Processors that this process may run on, which a container often restricts."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def default_cache_dir() -> Path:
    return Path(platformdirs.user_cache_dir("fx2ait", appauthor=False))


@dataclass(frozen=True)
class Settings:
    """What a user may set for all commands.

    :param cache_dir: compiled objects, libraries, extracted engines and tuned choices
        (``FX2AIT_CACHE_DIR``).
    :param disabled_plugins: names of plugins that are not loaded (``FX2AIT_DISABLE_PLUGINS``,
        separated by commas).
    :param disabled_kernels: names of kernel families that are never chosen (``FX2AIT_DISABLE_KERNELS``,
        separated by commas).
    :param jobs: compilers that run at the same time (``FX2AIT_JOBS``).
    :param threads: threads of a cpu engine (``FX2AIT_THREADS``).
    :param cuda_home: folder of a CUDA toolkit, searched before ``PATH`` (``CUDA_HOME``).
    :param tune: measure candidates on the device when one is at hand (off by ``FX2AIT_NO_TUNE``).
    :param keep_sources: keep the emitted source tree in the cache (``FX2AIT_KEEP_SOURCES``).
    :param search_path: folders searched for compilers (``PATH``).
    :param cxx: the C++ compiler, in place of ``g++`` (``CXX``).

    Raises :class:`~fx2ait_core.errors.SettingsError` for a value out of range.
    """

    cache_dir: Path = field(default_factory=default_cache_dir)
    disabled_plugins: tuple[str, ...] = ()
    disabled_kernels: tuple[str, ...] = ()
    jobs: int = field(default_factory=usable_processors)
    threads: int = field(default_factory=usable_processors)
    cuda_home: Path | None = None
    tune: bool = True
    keep_sources: bool = False
    search_path: str = field(default_factory=lambda: os.environ.get("PATH", os.defpath), repr=False)
    cxx: str | None = None

    def __post_init__(self) -> None:
        for name in ("jobs", "threads"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SettingsError(f"{name}={value!r} is not accepted; give an integer of at least 1.")
        object.__setattr__(self, "cache_dir", Path(self.cache_dir).expanduser())

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Settings from environment variables; ``overrides`` that are not None win over them.

        :param environment: variables to read in place of ``os.environ``.

        Raises :class:`~fx2ait_core.errors.SettingsError` that names the variable, or the
        override that is no setting.
        """
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(overrides) - known):
            raise SettingsError(f"{', '.join(unknown)}: no such setting; known: {', '.join(sorted(known))}.")
        environment = os.environ if environment is None else environment
        given = {name: value for name, value in overrides.items() if value is not None}
        read = {
            name: parse(variable, environment[variable])
            for variable, (name, parse) in _VARIABLES.items()
            if variable in environment and name not in given and environment[variable].strip()
        }
        return cls(**read, **given)


def compiler_environment() -> dict[str, str]:
    """The environment for compilers: this process's, but their messages in plain English."""
    return {**os.environ, "LC_ALL": "C"}


def _folder(variable: str, text: str) -> Path:
    path = Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise SettingsError(f"{variable}={text!r} is a file; name a folder.")
    return path


def _existing_folder(variable: str, text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise SettingsError(f"{variable}={text!r} is no folder; correct it or unset it.")
    return path


def _count(variable: str, text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise SettingsError(f"{variable}={text!r} is not accepted; give an integer of at least 1.")
    return int(text)


def _names(variable: str, text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _flag(variable: str, text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE + _FALSE:
        raise SettingsError(f"{variable}={text!r} is not accepted; give 1 or 0.")
    return word in _TRUE


_VARIABLES: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "FX2AIT_CACHE_DIR": ("cache_dir", _folder),
    "FX2AIT_DISABLE_PLUGINS": ("disabled_plugins", _names),
    "FX2AIT_DISABLE_KERNELS": ("disabled_kernels", _names),
    "FX2AIT_JOBS": ("jobs", _count),
    "FX2AIT_THREADS": ("threads", _count),
    "CUDA_HOME": ("cuda_home", _existing_folder),
    "FX2AIT_NO_TUNE": ("tune", lambda variable, text: not _flag(variable, text)),
    "FX2AIT_KEEP_SOURCES": ("keep_sources", _flag),
    "PATH": ("search_path", lambda variable, text: text),
    "CXX": ("cxx", lambda variable, text: text.strip()),
}
