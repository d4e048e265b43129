"""The tuning cache: measured times and choices in one SQLite file, shared by all processes."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
import warnings
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType

from ..errors import Fx2aitWarning

_VERSION = 1
_WAIT_SECONDS = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS measurements (
    key TEXT PRIMARY KEY,
    kernel TEXT NOT NULL, config TEXT NOT NULL, problem TEXT NOT NULL, sizes TEXT NOT NULL,
    dtype TEXT NOT NULL, device TEXT NOT NULL, compiler TEXT NOT NULL, source TEXT NOT NULL,
    microseconds REAL, rounds INTEGER NOT NULL, failure TEXT, recorded REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS choices (
    key TEXT PRIMARY KEY, kernel TEXT NOT NULL, config TEXT NOT NULL, microseconds REAL NOT NULL,
    recorded REAL NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class MeasurementKey:
    """All that a measured time depends on.

    :param kernel: the kernel family's name.
    :param config: its configuration, as text.
    :param problem: digest of the problem's identity.
    :param sizes: the dynamic sizes it was measured at.
    :param dtype: of the result.
    :param device: name of the card or processor.
    :param compiler: identity of compiler and flags.
    :param source: hash of the generated source and of its headers.
    """

    kernel: str
    config: str
    problem: str
    sizes: str
    dtype: str
    device: str
    compiler: str
    source: str

    @property
    def digest(self) -> str:
        return hashlib.sha256("\0".join(astuple(self)).encode()).hexdigest()


@dataclass(frozen=True)
class Measurement:
    """A measured time, or why there is none. ``rounds``: how often it was measured."""

    microseconds: float | None
    rounds: int = 1
    failure: str | None = None


@dataclass(frozen=True)
class RecordedChoice:
    """The kernel and configuration (as text) that won earlier."""

    kernel: str
    config: str
    microseconds: float


class TuningCache:
    """Measured times by :class:`MeasurementKey`, and choices by a hash.

    A file that is damaged is set aside and begun anew; one that cannot be written or stays locked
    is left alone; either is said once, by a warning, and tuning goes on.

    :param path: the SQLite file; None keeps nothing beyond this object.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        if path is None:
            self._connection = _connect(None)
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _connect(path)
        except sqlite3.DatabaseError as error:
            if _is_damage(error):
                self._begin_anew(str(error))
            else:
                self._do_without(str(error))
        except OSError as error:
            self._do_without(error.strerror or str(error))

    @classmethod
    def open(cls, cache_dir: Path) -> TuningCache:
        """The cache of ``cache_dir``."""
        return cls(cache_dir / "tuning.sqlite")

    def find(self, key: MeasurementKey) -> Measurement | None:
        query = "SELECT microseconds, rounds, failure FROM measurements WHERE key = ?"
        row = self._row(query, (key.digest,))
        return Measurement(*row) if row else None

    def record(self, key: MeasurementKey, measurement: Measurement) -> None:
        """Store at once, in place of an earlier measurement."""
        self._write("measurements", (key.digest, *astuple(key), *astuple(measurement), time.time()))

    def find_choice(self, key: str) -> RecordedChoice | None:
        row = self._row("SELECT kernel, config, microseconds FROM choices WHERE key = ?", (key,))
        return RecordedChoice(*row) if row else None

    def record_choice(self, key: str, choice: RecordedChoice) -> None:
        self._write("choices", (key, *astuple(choice), time.time()))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> TuningCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _row(self, query: str, values: tuple[object, ...]) -> tuple | None:
        with self._guarded() as connection:
            row = connection.execute(query, values).fetchone() if connection else None
            return row if row is None else tuple(row)
        return None

    def _write(self, table: str, values: tuple[object, ...]) -> None:
        marks = ", ".join("?" * len(values))
        with self._guarded() as connection:
            if connection:
                connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", values)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection | None]:
        try:
            yield self._connection
        except sqlite3.DatabaseError as error:
            if _is_damage(error):
                self._begin_anew(str(error))
            else:
                self._do_without(str(error))

    def _begin_anew(self, reason: str) -> None:
        assert self.path is not None
        self.close()
        _warn(f"The tuning cache {self.path} is damaged ({reason}); it is begun anew.")
        try:
            aside = self.path.with_suffix(".damaged")
            self.path.replace(aside)
            for ending in ("-wal", "-shm"):
                Path(f"{self.path}{ending}").unlink(missing_ok=True)
            self._connection = _connect(self.path)
        except (OSError, sqlite3.DatabaseError) as error:
            self._do_without(str(error))

    def _do_without(self, reason: str) -> None:
        """Go on with a cache in memory."""
        self.close()
        _warn(
            f"The tuning cache {self.path} cannot be used ({reason}); choices are not remembered beyond this "
            "run. Make it writable or set FX2AIT_CACHE_DIR."
        )
        self._connection = _connect(None)


def _connect(path: Path | None) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path or ":memory:", timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        with contextlib.suppress(sqlite3.OperationalError):  # some network file systems have no WAL
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"file is of version {version}, not {_VERSION}")
        if version == 0:
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is at fault, not its permissions, the disk, or another process."""
    words = str(error)
    return not isinstance(error, sqlite3.OperationalError) or "malformed" in words or "no such" in words


def _warn(text: str) -> None:
    warnings.warn(text, Fx2aitWarning, stacklevel=3)
