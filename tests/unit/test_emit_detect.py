"""Detection of processors and GPUs, and the flags that follow."""

import ctypes
import shutil
import subprocess

import pytest

from fx2ait_core.errors import TargetError
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.settings import Settings
from fx2ait_core.target.cpu import CpuBackend
from fx2ait_core.target.cpu import backend as cpu_backend
from fx2ait_core.target.cpu.processor import Processor, read_processor
from fx2ait_core.target.cuda import CudaBackend
from fx2ait_core.target.cuda import backend as cuda_backend
from fx2ait_core.target.cuda.driver import Device, NoDevice, first_device
from fx2ait_core.target.target import Target

V3 = "pni ssse3 sse4_1 sse4_2 popcnt avx avx2 fma f16c bmi1 bmi2"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"
SETTINGS = Settings(threads=3)


def processor(flags, machine="x86_64"):
    return Processor(machine, "Model", frozenset(flags.split()), 48 << 10, 1 << 20)


@pytest.mark.parametrize(
    ("found", "arch", "vector_bytes"),
    [
        (processor(V4), "x86-64-v4", 64),
        (processor(V3), "x86-64-v3", 32),
        (processor(V4.replace("fma", "")), "x86-64-v2", 16),
        (processor(""), "x86-64", 16),
        (processor("asimd fp", "aarch64"), "armv8-a", 16),
        (processor("", "riscv64"), "native", 16),
    ],
)
def test_the_best_level_of_the_processor_is_taken(monkeypatch, found, arch, vector_bytes):
    monkeypatch.setattr(cpu_backend, "read_processor", lambda: found)
    target = CpuBackend().detect(None, SETTINGS)
    assert target.arch == arch
    assert target["vector_bytes"] == vector_bytes
    assert target["threads"] == 3
    assert (target["l1_bytes"], target["l2_bytes"]) == (48 << 10, 1 << 20)
    assert target["c_types"][DType.float32] == "float"
    assert target.has("avx512f") == (arch == "x86-64-v4")
    assert f"-march={arch}" in CpuBackend().compile_flags(target)


def test_an_older_level_can_be_asked_for_and_a_wrong_one_is_refused(monkeypatch):
    monkeypatch.setattr(cpu_backend, "read_processor", lambda: processor(V4))
    target = CpuBackend().detect("x86-64-v3", SETTINGS)
    assert target.has("avx2")
    assert not target.has("avx512f")
    assert CpuBackend().detect("native", SETTINGS).has("avx512f")
    with pytest.raises(TargetError, match=r"'sm_80'; accepted are native, x86-64"):
        CpuBackend().detect("sm_80", SETTINGS)


def test_whether_code_runs_here_is_told(monkeypatch):
    monkeypatch.setattr(cpu_backend, "read_processor", lambda: processor(V3))
    assert CpuBackend().runs_here(Target("cpu", "x86-64-v3"), Settings()) is None
    assert CpuBackend().runs_here(Target("cpu", "native"), Settings()) is None
    assert "lacks avx512bw" in CpuBackend().runs_here(Target("cpu", "x86-64-v4"), Settings())
    assert "x86_64, not aarch64" in CpuBackend().runs_here(Target("cpu", "armv8-a"), Settings())


def test_the_system_is_read_and_its_gaps_are_filled(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor : 0\nmodel name : Some CPU\nflags : fpu avx2\n\nprocessor : 1\nflags : none\n"
    )
    for index, level, kind, size in (
        (0, 1, "Data", "32K"),
        (1, 1, "Instruction", "64K"),
        (2, 2, "Unified", "2M"),
    ):
        folder = tmp_path / "cache" / f"index{index}"
        folder.mkdir(parents=True)
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{value}\n")
    found = read_processor(cpuinfo, tmp_path / "cache", "x86_64")
    assert found == Processor("x86_64", "Some CPU", frozenset({"fpu", "avx2"}), 32 << 10, 2 << 20)
    empty = read_processor(tmp_path / "none", tmp_path / "none", "sparc")
    assert (empty.model, empty.features) == ("sparc", frozenset())
    assert empty.l1_bytes > 0 < empty.l2_bytes


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_the_compiler_takes_the_flags_of_this_machine(tmp_path):
    backend = CpuBackend()
    source = tmp_path / "a.cpp"
    source.write_text("int answer() { return 42; }\n")
    flags = backend.compile_flags(backend.detect(None, Settings()))
    subprocess.run(["g++", *flags, "-c", source, "-o", tmp_path / "a.o"], check=True)


# ---- cuda -----------------------------------------------------------------------------------


def no_device():
    raise NoDevice("there is none; get one")


def gpu(major=9, minor=0, clock=1_980_000):
    figures = {
        "clock_khz": clock,
        "multiprocessors": 114,
        "memory_clock_khz": 2_619_000,
        "memory_bus_bits": 5120,
        "l2_bytes": 0,
        "capability_major": major,
        "capability_minor": minor,
        "shared_memory_per_multiprocessor": 233472,
        "shared_memory_per_block": 232448,
    }
    return Device("Some GPU", figures)


def test_an_architecture_can_be_named_without_a_gpu(monkeypatch):
    monkeypatch.setattr(cuda_backend, "first_device", no_device)
    backend = CudaBackend()
    hopper = backend.detect("sm_90", SETTINGS)
    assert (hopper.arch, hopper["compute_capability"], hopper["multiprocessors"]) == ("sm_90a", 90, 132)
    assert hopper.features == {"mma_sync", "cp_async", "tma", "wgmma"}
    ampere = backend.detect("sm_80", SETTINGS)
    assert ampere.features == {"mma_sync", "cp_async"}
    assert ampere["shared_memory_per_block"] == 163 << 10
    assert backend.detect("sm_87", SETTINGS).device == backend.detect("sm_86", SETTINGS).device
    assert not backend.detect("sm_120a", SETTINGS).has("wgmma")
    assert "arch=compute_90a,code=sm_90a" in backend.compile_flags(hopper)
    with_ptx = "arch=compute_80,code=[sm_80,compute_80]"
    assert with_ptx in backend.compile_flags(ampere), "newer GPUs compile the PTX"


def test_without_a_gpu_an_architecture_must_be_named(monkeypatch):
    monkeypatch.setattr(cuda_backend, "first_device", no_device)
    with pytest.raises(
        TargetError, match=r"there is none; get one; or name an architecture, e.g. --arch sm_90a"
    ):
        CudaBackend().detect(None, SETTINGS)
    assert CudaBackend().available(SETTINGS) == "there is none; get one"


@pytest.mark.parametrize("arch", ["sm_70", "native", "sm_", "90a", "x86-64"])
def test_a_wrong_architecture_is_refused(arch):
    with pytest.raises(TargetError, match=f"no architecture '{arch}'"):
        CudaBackend().detect(arch, SETTINGS)


def test_a_gpu_gives_its_own_figures(monkeypatch):
    monkeypatch.setattr(cuda_backend, "first_device", gpu)
    backend = CudaBackend()
    found = backend.detect(None, SETTINGS)
    assert backend.available(SETTINGS) is None
    assert (found.arch, found.device, found["multiprocessors"]) == ("sm_90a", "Some GPU", 114)
    assert found["memory_gbps"] == pytest.approx(3352, rel=1e-3)
    assert found["fp16_tflops"] == pytest.approx(114 * 1.98e9 * 4096 / 1e12, rel=1e-3)
    assert found["l2_bytes"] == 50 << 20, "what the driver does not tell is documented"
    assert backend.detect("sm_80", SETTINGS).device.startswith("NVIDIA A100")


@pytest.mark.parametrize(
    ("arch", "major", "minor", "reason"),
    [
        ("sm_90a", 9, 0, None),
        ("sm_80", 9, 0, None),
        ("sm_80", 8, 0, None),
        ("sm_86", 8, 9, None),
        ("sm_89", 8, 6, "has compute capability 8.6; code for sm_89 needs 8.9 or newer"),
        ("sm_90a", 8, 0, "code for sm_90a needs 9.0"),
        ("sm_90a", 10, 0, "has compute capability 10.0; code for sm_90a needs 9.0"),
        ("sm_100a", 10, 3, "code for sm_100a needs 10.0"),
    ],
)
def test_which_gpus_run_code_for_which(monkeypatch, arch, major, minor, reason):
    monkeypatch.setattr(cuda_backend, "first_device", lambda: gpu(major, minor))
    found = CudaBackend().runs_here(Target("cuda", arch), SETTINGS)
    assert found is None if reason is None else found.endswith(reason)
    monkeypatch.setattr(cuda_backend, "first_device", no_device)
    assert CudaBackend().runs_here(Target("cuda", arch), SETTINGS) == "there is none; get one"


def test_a_gpu_that_is_too_old_is_refused(monkeypatch):
    monkeypatch.setattr(cuda_backend, "first_device", lambda: gpu(7, 5))
    with pytest.raises(TargetError, match=r"compute capability 7\.5; 8\.0 or newer"):
        CudaBackend().detect(None, SETTINGS)
    assert "7.5" in CudaBackend().available(SETTINGS)


def test_a_missing_driver_is_told():
    with pytest.raises(NoDevice, match="no CUDA driver is installed"):
        first_device("libnone-such.so.1")


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
@pytest.mark.parametrize(
    ("start", "count", "words"),
    [(999, 1, r"does not start \(CUDA_ERROR_TEST\)"), (0, 0, "sees no GPU"), (0, 1, None)],
)
def test_the_driver_is_asked(tmp_path, start, count, words):
    """Against a driver made for the test."""
    source = tmp_path / "driver.c"
    source.write_text(f"""
#include <string.h>
int cuInit(unsigned flags) {{ return {start}; }}
int cuDeviceGetCount(int* count) {{ *count = {count}; return 0; }}
int cuDeviceGet(int* device, int ordinal) {{ *device = ordinal; return 0; }}
int cuDeviceGetName(char* name, int length, int device) {{ strncpy(name, "Test GPU", length); return 0; }}
int cuDeviceGetAttribute(int* value, int attribute, int device) {{
  *value = attribute == 75 ? 8 : attribute == 76 ? 6 : 7;
  return attribute == 38;  /* unknown */
}}
int cuGetErrorName(int code, const char** name) {{ *name = "CUDA_ERROR_TEST"; return 0; }}
""")
    library = tmp_path / "libdriver.so"
    subprocess.run(["g++", "-x", "c", "-shared", "-fPIC", source, "-o", library], check=True)
    ctypes.CDLL(str(library))
    if words is not None:
        with pytest.raises(NoDevice, match=words):
            first_device(str(library))
        return
    device = first_device(str(library))
    assert (device.name, device.capability, device.attributes["l2_bytes"]) == ("Test GPU", 86, 0)
