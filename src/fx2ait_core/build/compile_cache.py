"""The compile cache: objects and libraries by the hash of all that they depend on.

An entry is one file, ``<kind>/<2 hex>/<key>.<sha256 of the contents><suffix>``. The name tells
what the contents must be, so one rename publishes an entry whole, and any damage shows.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import socket
import stat
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from ..errors import BuildError, Fx2aitWarning

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, no space for this user, or a file larger than this process may write (``ulimit -f``)."""
_NAME_DIGITS = 40  # of each hash in a file name: 160 bits


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns a full disk, or a folder that stops being writable, into a ``BuildError`` with a mend."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise BuildError(
                f"The disk of {folder} is full ({error.strerror}). Free some space, or set FX2AIT_CACHE_DIR "
                "to a folder on another disk. The cache is intact; run again."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EIO):
            where = error.filename or folder
            raise BuildError(
                f"{where}: {error.strerror}. Make {folder} writable, or set FX2AIT_CACHE_DIR."
            ) from error
        raise


class CompileCache:
    """Objects and libraries under ``folder``; any number of processes may share it.

    :param folder: the cache's folder; made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        for part in ("locks", "work", "failed"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)

    @classmethod
    def open(cls, cache_dir: Path) -> CompileCache:
        """The cache below ``cache_dir``; where that cannot be written, a temporary one, with a warning."""
        folder = cache_dir / "compile"
        try:
            cache = cls(folder)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            temporary = _temporary_folder(folder)
            warnings.warn(
                f"The cache folder {folder} cannot be used ({error.strerror}); compiling in {temporary} "
                "instead. Make it writable or set FX2AIT_CACHE_DIR.",
                Fx2aitWarning,
                stacklevel=1,  # one place, so that Python tells it once
            )
            cache = cls(temporary)
        cache.remove_abandoned()
        return cache

    def find(self, kind: str, key: str, suffix: str) -> Path | None:
        """The entry's file, or None. An entry that does not match its hash is dropped with a warning."""
        for path in sorted(self._shard(kind, key).glob(f"{key[:_NAME_DIGITS]}.*{suffix}")):
            recorded = path.name.removesuffix(suffix).rpartition(".")[2]
            with contextlib.suppress(FileNotFoundError):  # dropped by another process meanwhile
                if file_sha256(path).startswith(recorded):
                    return path
                warnings.warn(
                    f"The cache entry {path} is damaged; it is built again.", Fx2aitWarning, stacklevel=2
                )
                path.unlink(missing_ok=True)
        return None

    def store(self, kind: str, key: str, suffix: str, file: Path) -> Path:
        """Publish ``file`` as an entry and return the entry's path; ``file`` stays where it is.

        Raises :class:`~fx2ait_core.errors.BuildError` when the disk is full; the cache stays intact.
        """
        shard = self._shard(kind, key)
        with disk_errors(self.folder):
            entry = shard / f"{key[:_NAME_DIGITS]}.{file_sha256(file)[:_NAME_DIGITS]}{suffix}"
            shard.mkdir(parents=True, exist_ok=True)
            with self.work_folder() as work:
                _duplicate(file, work / "entry").replace(entry)
        return entry

    def lock(self, key: str) -> FileLock:
        """Held by the process that builds ``key``; ends with the process, however it ends."""
        return FileLock(self.folder / "locks" / f"{key[:_NAME_DIGITS]}.lock")

    @contextlib.contextmanager
    def work_folder(self) -> Iterator[Path]:
        """A new folder on the cache's file system, removed at the end."""
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        path = self.folder / "work" / name
        with disk_errors(self.folder):
            path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def keep(self, kind: str, key: str, folder: Path) -> Path:
        """Move ``folder`` to ``<kind>/<key>``, in place of an earlier one, and return where it is."""
        kept = self.folder / kind / key[:16]
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(kept)
        except OSError:  # another process keeps the same folder at this moment
            return kept if kept.is_dir() else folder
        return kept

    def prune(self, kind: str, at_most: int) -> None:
        """Remove the oldest folders kept as ``kind`` beyond ``at_most``."""
        with contextlib.suppress(OSError):
            kept = sorted((self.folder / kind).iterdir(), key=lambda path: path.stat().st_mtime)
            for path in kept[: max(0, len(kept) - at_most)]:
                shutil.rmtree(path, ignore_errors=True)

    def remove_abandoned(self) -> None:
        """Remove work folders of this machine's processes that were killed."""
        here = socket.gethostname()
        for path in (self.folder / "work").iterdir():
            host, _, process = path.name.rpartition("-")[0].rpartition("-")
            if host == here and process.isdecimal() and not _alive(int(process)):
                shutil.rmtree(path, ignore_errors=True)

    def _shard(self, kind: str, key: str) -> Path:
        return self.folder / kind / key[:2]


def _temporary_folder(refused: Path) -> Path:
    """This user's folder for temporary files, the same for all calls. Libraries are loaded from it, so that
    one which somebody else made, or may write to, is not used; then it is a new one.

    Raises :class:`~fx2ait_core.errors.BuildError` when there is none either.
    """
    try:
        path = Path(tempfile.gettempdir()) / f"fx2ait-{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            with tempfile.TemporaryFile(dir=path):
                return path
        return Path(tempfile.mkdtemp(prefix="fx2ait-"))
    except OSError as error:
        raise BuildError(
            f"Neither the cache folder {refused} nor a folder for temporary files can be written "
            f"({error.strerror or error}). Set FX2AIT_CACHE_DIR to a folder that can."
        ) from error


def _duplicate(file: Path, copy: Path) -> Path:
    """A second name for the file where the file system can, else a copy."""
    try:
        os.link(file, copy)
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        shutil.copyfile(file, copy)
    return copy


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
