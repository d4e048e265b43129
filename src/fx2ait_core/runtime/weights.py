"""Finding the weights inside an engine's library: a safetensors image among its read-only data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LONGEST_HEADER = 100_000_000  # the limit of the safetensors format


def embedded_weights(library: Path) -> dict[str, Any] | None:
    """``{"offset", "bytes"}`` of the safetensors image in the file, or None when there is none.

    An image is 8 bytes with the header's length, the header (JSON with each tensor's
    ``data_offsets``), and the data; it is recognised by all of that being consistent.
    """
    data = library.read_bytes()
    start = data.find(b'{"')
    while start != -1:
        if start >= 8:
            length = int.from_bytes(data[start - 8 : start], "little")
            if 2 <= length <= min(_LONGEST_HEADER, len(data) - start):
                size = _data_size(data[start : start + length])
                if size is not None and start + length + size <= len(data):
                    return {"offset": start - 8, "bytes": 8 + length + size}
        start = data.find(b'{"', start + 1)
    return None


def _data_size(header: bytes) -> int | None:
    """Bytes of data that a safetensors header describes; None when it is no such header."""
    try:
        entries = json.loads(header)
        tensors = [entry for name, entry in entries.items() if name != "__metadata__"]
        ends = [int(entry["data_offsets"][1]) for entry in tensors if "dtype" in entry and "shape" in entry]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return max(ends) if ends and len(ends) == len(tensors) else None
