"""The driver's own figures of a GPU, by NVML through ctypes: no subprocess, no dependency."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_SM, _MEMORY = 1, 2


@dataclass(frozen=True)
class Clocks:
    """Megahertz: present and highest."""

    sm_mhz: int
    memory_mhz: int
    max_sm_mhz: int
    max_memory_mhz: int


@dataclass(frozen=True)
class Card:
    """A GPU as the driver sees it."""

    name: str
    driver: str
    clocks: Clocks | None


def card(uuid: str | None = None) -> Card | None:
    """The GPU with ``uuid`` (``GPU-…``), or the first; None where there is no driver or no GPU."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    if library.nvmlInit_v2() != 0:
        return None
    try:
        handle = ctypes.c_void_p()
        failed = uuid is None or library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle))
        if failed and library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(0), ctypes.byref(handle)):
            return None
        name, driver = ctypes.create_string_buffer(96), ctypes.create_string_buffer(96)
        library.nvmlDeviceGetName(handle, name, ctypes.c_uint(96))
        library.nvmlSystemGetDriverVersion(driver, ctypes.c_uint(96))
        return Card(name.value.decode(), driver.value.decode(), _clocks(library, handle))
    finally:
        library.nvmlShutdown()


def _clocks(library: ctypes.CDLL, handle: ctypes.c_void_p) -> Clocks | None:
    figures = []
    for query in (library.nvmlDeviceGetClockInfo, library.nvmlDeviceGetMaxClockInfo):
        for kind in (_SM, _MEMORY):
            value = ctypes.c_uint()
            if query(handle, ctypes.c_int(kind), ctypes.byref(value)) != 0:
                return None
            figures.append(value.value)
    return Clocks(*figures)
