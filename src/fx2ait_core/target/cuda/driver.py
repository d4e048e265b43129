"""The GPU at hand, asked of the CUDA driver's library; no toolkit and no PyTorch needed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

# Numbers of CUdevice_attribute.
_ATTRIBUTES = {
    "clock_khz": 13,
    "multiprocessors": 16,
    "memory_clock_khz": 36,
    "memory_bus_bits": 37,
    "l2_bytes": 38,
    "capability_major": 75,
    "capability_minor": 76,
    "shared_memory_per_multiprocessor": 81,
    "shared_memory_per_block": 97,
}


class NoDevice(Exception):
    """No GPU is usable; the text says why and what mends it."""


@dataclass(frozen=True)
class Device:
    """A GPU by name and attributes (the driver's figures; 0 where it knows none)."""

    name: str
    attributes: dict[str, int]

    @property
    def capability(self) -> int:
        """Ten times the major number plus the minor one, e.g. 90."""
        return 10 * self.attributes["capability_major"] + self.attributes["capability_minor"]


def first_device(library: str = "libcuda.so.1") -> Device:
    """The first visible GPU; raises :class:`NoDevice`."""
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        raise NoDevice(
            "no CUDA driver is installed (libcuda.so.1 is missing); install NVIDIA's driver"
        ) from None
    if (code := driver.cuInit(0)) != 0:
        raise NoDevice(f"the CUDA driver does not start ({_name(driver, code)}); check with nvidia-smi")
    count = ctypes.c_int()
    _check(driver, driver.cuDeviceGetCount(ctypes.byref(count)))
    if count.value == 0:
        raise NoDevice("the CUDA driver sees no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES")
    device = ctypes.c_int()
    _check(driver, driver.cuDeviceGet(ctypes.byref(device), 0))
    name = ctypes.create_string_buffer(256)
    _check(driver, driver.cuDeviceGetName(name, len(name), device))
    attributes = {}
    for attribute, number in _ATTRIBUTES.items():
        value = ctypes.c_int()
        known = driver.cuDeviceGetAttribute(ctypes.byref(value), number, device) == 0
        attributes[attribute] = value.value if known else 0
    return Device(name.value.decode(errors="replace"), attributes)


def _check(driver: ctypes.CDLL, code: int) -> None:
    if code != 0:
        raise NoDevice(f"the CUDA driver fails ({_name(driver, code)}); check with nvidia-smi")


def _name(driver: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    known = driver.cuGetErrorName(code, ctypes.byref(text)) == 0 and text.value
    return text.value.decode() if known and text.value else f"error {code}"
