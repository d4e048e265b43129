"""The engine's file format: an uncompressed zip that ends with a seal over all its bytes.

The seal is the archive's comment, ``fx2ait-engine bytes=<decimal> sha256=<hex>``: the number and the
hash of the bytes before it. Any zip program reads the file; nothing in it can change unnoticed.
The first member, ``manifest.json``, lists size and sha256 of every other member.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..build.compile_cache import FULL_DISK
from ..errors import ArtifactError

FORMAT = 1
MANIFEST = "manifest.json"

_SEAL = re.compile(rb"fx2ait-engine bytes=(\d{16}) sha256=([0-9a-f]{64})")
_SEAL_SIZE = len("fx2ait-engine bytes= sha256=") + 16 + 64
_DATE = (1980, 1, 1, 0, 0, 0)  # equal engines are equal files
_CHUNK = 1 << 20


def write_sealed(path: Path, manifest: Mapping[str, Any], members: Mapping[str, bytes | Path]) -> None:
    """Write the file under a temporary name, then rename it.

    :param manifest: what to say of the engine; format and members are added here.
    :param members: contents, or the files that hold them, by name.

    Raises :class:`~fx2ait_core.errors.ArtifactError` when the disk is full or the folder cannot
    be written; a file already at ``path`` is then as it was.
    """
    if path.exists() and not path.is_file():  # renaming would put the engine in a device's place
        kind = "a folder" if path.is_dir() else "a device"
        raise ArtifactError(f"{path} cannot be written: it is {kind}. Choose the name of a file.")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        contents = {name: m if isinstance(m, bytes) else m.read_bytes() for name, m in members.items()}
        listed = {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in contents.items()
        }
        whole = {"format": FORMAT, **manifest, "members": listed}
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            text = json.dumps(whole, indent=2, sort_keys=True)
            for name, data in {MANIFEST: text.encode(), **contents}.items():
                archive.writestr(zipfile.ZipInfo(name, _DATE), data)
            archive.comment = b"-" * _SEAL_SIZE
        size = temporary.stat().st_size - _SEAL_SIZE
        seal = f"fx2ait-engine bytes={size:016d} sha256={_sha256(temporary, size)}"
        with temporary.open("r+b") as stream:
            stream.seek(size)
            stream.write(seal.encode())
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> ArtifactError:
    """The error that says why ``path`` cannot be written, and what to do."""
    full = error.errno in FULL_DISK
    mend = "Free some space, or choose another disk." if full else "Choose a folder that can be written."
    return ArtifactError(f"{path} cannot be written: {error.strerror or error}. {mend}")


def check_seal(path: Path) -> None:
    """Raises :class:`~fx2ait_core.errors.ArtifactError` unless every byte is as it was written."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(4)
            stream.seek(max(0, size - _SEAL_SIZE))
            seal = _SEAL.fullmatch(stream.read())
        if start != b"PK\x03\x04":
            raise ArtifactError(f"{path} is no engine file (or its beginning is damaged).")
        if seal is None:
            raise ArtifactError(f"{path} is truncated or altered: the seal at its end is missing.")
        if int(seal.group(1)) != size - _SEAL_SIZE:
            raise ArtifactError(
                f"{path} is truncated or altered: it has {size - _SEAL_SIZE} bytes, not {int(seal.group(1))}."
            )
        if _sha256(path, size - _SEAL_SIZE) != seal.group(2).decode():
            raise ArtifactError(f"{path} is altered: its contents do not match their sha256.")
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist.") from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}.") from error


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a file whose seal holds.

    Raises :class:`~fx2ait_core.errors.ArtifactError` when the file is damaged or of a newer format.
    """
    check_seal(path)
    manifest = _json(path, read_member(path, MANIFEST))
    version = manifest.get("format")
    if not isinstance(version, int) or version < 1:
        raise ArtifactError(f"{path}: the manifest's format is {version!r}, not a number.")
    if version > FORMAT:
        made_by = manifest.get("fx2ait", "a newer fx2ait")
        raise ArtifactError(
            f"{path} is of format {version} (made by {made_by}); this version reads formats up to {FORMAT}. "
            "Update fx2ait (in its checkout: `git pull` and `pip install -r requirements.txt`), or compile "
            "the model again with this one."
        )
    if not isinstance(manifest.get("members"), dict):
        raise ArtifactError(f"{path}: the manifest lists no members.")
    return manifest


def read_member(path: Path, name: str, listed: Mapping[str, Any] | None = None) -> bytes:
    """A member's contents, compared with its entry in the manifest's list when given."""
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(name)
    except KeyError as error:
        raise ArtifactError(f"{path} has no member {name}.") from error
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}.") from error
    if listed is not None:
        expected = listed.get(name, {})
        if hashlib.sha256(data).hexdigest() != expected.get("sha256"):
            raise ArtifactError(f"{path}: the member {name} does not match its sha256 in the manifest.")
    return data


def _json(path: Path, data: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(data)
    except ValueError as error:
        raise ArtifactError(f"{path}: the manifest is no JSON ({error}).") from error
    if not isinstance(parsed, dict):
        raise ArtifactError(f"{path}: the manifest is no JSON object.")
    return parsed


def _sha256(path: Path, size: int) -> str:
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while size > 0 and (chunk := stream.read(min(_CHUNK, size))):
            total.update(chunk)
            size -= len(chunk)
    return total.hexdigest()
