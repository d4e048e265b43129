"""The source tree of an engine: files by relative path, and their way to disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType


class SourceTree(Mapping[str, bytes]):
    """Contents by relative path, in order of path; immutable.

    Raises ``ValueError`` for a path that is absolute or leaves the tree.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        for path in files:
            parts = PurePosixPath(path).parts
            if not parts or path != "/".join(parts) or path.startswith("/") or ".." in parts:
                raise ValueError(f"a source tree has relative paths inside it, not {path!r}")
        self._files = MappingProxyType({path: bytes(files[path]) for path in sorted(files)})

    def __getitem__(self, path: str) -> bytes:
        return self._files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SourceTree) and self._files == other._files

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<SourceTree of {len(self)} files, {sum(map(len, self.values()))} bytes>"

    def text(self, path: str) -> str:
        return self[path].decode()

    def write(self, directory: Path) -> Path:
        """Write the tree so that ``directory`` appears whole or not at all; returns it.

        A directory that is already there is replaced. Raises ``OSError`` (a full disk, no
        permission) and leaves nothing behind.
        """
        directory = Path(directory)
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            for path, contents in self.items():
                file = partial / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(contents)
            partial.chmod(0o777 & ~_umask())
            _replace(partial, directory)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return directory


def _replace(new: Path, directory: Path) -> None:
    """Rename ``new`` to ``directory``; a folder cannot be renamed over one that is not empty."""
    if not directory.is_dir():
        new.rename(directory)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    directory.rename(old)
    try:
        new.rename(directory)
    except OSError:
        old.rename(directory)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
