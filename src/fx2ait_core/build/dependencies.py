"""What a source file of a tree depends on, so that a change elsewhere does not compile it again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

COMPILED_SUFFIXES = (".cpp", ".cc", ".cu", ".c", ".S", ".s")
HEADER_SUFFIXES = (".h", ".hpp", ".cuh", ".inc", ".inl")

_INCLUDE = re.compile(rb"^[ \t]*#[ \t]*include[ \t]*(?:[<\"]([^>\"\n]+)[>\"]|(\w+))", re.MULTILINE)


class Dependencies:
    """The files of a tree by what includes or embeds them.

    An include is taken to mean every header of the tree whose path ends like it, and a data file
    belongs to each source that writes its name (``.incbin``): at worst a file is compiled once
    more than needed, never once less.

    :param tree: contents by relative path.
    """

    def __init__(self, tree: Mapping[str, bytes]) -> None:
        self._tree = tree
        self._headers = [path for path in tree if path.endswith(HEADER_SUFFIXES)]
        self._data = [path for path in tree if not path.endswith(HEADER_SUFFIXES + COMPILED_SUFFIXES)]
        self._digests: dict[str, str] = {}
        self._included: dict[str, frozenset[str]] = {}

    def compiled(self) -> list[str]:
        """Sources that become objects, sorted: all but those that another file includes."""
        sources = {path for path in self._tree if path.endswith(COMPILED_SUFFIXES)}
        return sorted(sources.difference(*(self._direct(path) for path in self._tree)))

    def of(self, source: str) -> list[str]:
        """Paths of the files that ``source`` needs, itself among them, sorted."""
        found = {source}
        waiting = [source]
        while waiting:
            new = self._direct(waiting.pop()) - found
            found |= new
            waiting += new
        return sorted(found)

    def digest(self, source: str) -> str:
        """Hash of the names and contents of all files that ``source`` needs."""
        total = hashlib.sha256()
        for path in self.of(source):
            total.update(f"{path}\0{self._digest(path)}\0".encode())
        return total.hexdigest()

    def tree_digest(self) -> str:
        """Hash of the names and contents of all files."""
        total = hashlib.sha256()
        for path in sorted(self._tree):
            total.update(f"{path}\0{self._digest(path)}\0".encode())
        return total.hexdigest()

    def _digest(self, path: str) -> str:
        if path not in self._digests:
            self._digests[path] = hashlib.sha256(self._tree[path]).hexdigest()
        return self._digests[path]

    def _direct(self, path: str) -> frozenset[str]:
        if path not in self._included:
            self._included[path] = frozenset(self._scan(path))
        return self._included[path]

    def _scan(self, path: str) -> Iterable[str]:
        if path in self._data:
            return
        text = self._tree[path]
        for named, macro in _INCLUDE.findall(text):
            if macro:  # `#include MACRO` may mean any header
                yield from self._headers
            else:
                ending = PurePosixPath(named.decode(errors="replace"))
                parts = [part for part in ending.parts if part not in ("..", ".")]
                yield from (h for h in self._tree if list(PurePosixPath(h).parts[-len(parts) :]) == parts)
        for data in self._data:
            if PurePosixPath(data).name.encode() in text:
                yield data
