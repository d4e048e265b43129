"""Finding compilers, with programs made up for the test."""

import os
import stat

import pytest

from fx2ait_core.build.toolchain import find_cxx, find_nvcc, native_identity
from fx2ait_core.errors import ToolchainError
from fx2ait_core.settings import Settings

NVCC = "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 13.0, V13.0.88"
GXX = "g++ (Debian 12.2.0-14) 12.2.0\nCopyright"
PARTS = ["bin/ptxas", "include/crt/host_config.h", "nvvm/bin/cicc", "lib/libcudart_static.a", "include/cccl"]


def program(path, output, code=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\nexit {code}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


@pytest.fixture
def tools(tmp_path):
    program(tmp_path / "bin" / "g++", GXX)
    return tmp_path / "bin"


@pytest.fixture
def no_usual_cuda(monkeypatch):
    """As on a machine without /usr/local/cuda."""
    is_file = os.path.isfile
    monkeypatch.setattr("pathlib.Path.is_file", lambda p: is_file(p) and "/usr/local/cuda" not in str(p))


def packages(folder, leave_out=()):
    root = folder / "cu13"
    program(root / "bin" / "nvcc", NVCC)
    for part in PARTS:
        if part not in leave_out:
            (root / part).parent.mkdir(parents=True, exist_ok=True)
            (root / part).touch()
    return root


def test_gxx_on_the_search_path(tools):
    compiler = find_cxx(Settings(search_path=str(tools)))
    assert compiler.path == tools / "g++"
    assert compiler.version == "12.2.0"


def test_no_gxx_names_the_mend(tmp_path):
    with pytest.raises(ToolchainError, match=r"g\+\+ is not on PATH; install one.*apt-get install g\+\+"):
        find_cxx(Settings(search_path=str(tmp_path)))


def test_wrong_cxx_variable_is_named(tools):
    with pytest.raises(ToolchainError, match="CXX='nonesuch'"):
        find_cxx(Settings(search_path=str(tools), cxx="nonesuch"))


def test_a_compiler_that_does_not_answer(tools):
    program(tools / "g++", "Segmentation fault", code=139)
    with pytest.raises(ToolchainError, match=r"139.*Segmentation fault.*Install it anew"):
        find_cxx(Settings(search_path=str(tools)))


def test_a_compiler_that_cannot_be_run(tools):
    (tools / "g++").write_text("no program")
    (tools / "g++").chmod(0o755)
    with pytest.raises(ToolchainError, match="cannot be run"):
        find_cxx(Settings(search_path=str(tools)))


def test_order_cuda_home_then_path_then_packages(tools, tmp_path):
    root = packages(tmp_path / "nvidia")
    assert find_nvcc(Settings(search_path=str(tools)), [tmp_path / "nvidia"]).path == root / "bin" / "nvcc"
    program(tools / "nvcc", NVCC)
    assert find_nvcc(Settings(search_path=str(tools)), [tmp_path / "nvidia"]).path == tools / "nvcc"
    home = program(tmp_path / "home" / "bin" / "nvcc", NVCC)
    settings = Settings(search_path=str(tools), cuda_home=tmp_path / "home")
    compiler = find_nvcc(settings, [tmp_path / "nvidia"])
    assert (compiler.path, compiler.origin, compiler.version) == (home, "CUDA_HOME", "13.0.88")


def test_packages_bring_their_library_folder(tools, tmp_path):
    root = packages(tmp_path / "nvidia")
    compiler = find_nvcc(Settings(search_path=str(tools)), [tmp_path / "nvidia"])
    assert compiler.origin == "PyPI"
    assert compiler.link_flags == (f"-L{root / 'lib'}",)


@pytest.mark.parametrize(("part", "package"), [(PARTS[1], "nvidia-cuda-crt"), (PARTS[4], "nvidia-cuda-cccl")])
@pytest.mark.usefixtures("no_usual_cuda")
def test_missing_package_is_named(tools, tmp_path, part, package):
    packages(tmp_path / "nvidia", leave_out=[part])
    with pytest.raises(ToolchainError, match=rf"lacks {package}; run `pip install 'fx2ait-core\[cuda\]'`"):
        find_nvcc(Settings(search_path=str(tools)), [tmp_path / "nvidia"])


@pytest.mark.usefixtures("no_usual_cuda")
def test_no_nvcc_names_the_mend(tools, tmp_path):
    settings = Settings(search_path=str(tools), cuda_home=tmp_path)
    with pytest.raises(ToolchainError, match=r"CUDA_HOME=.* holds no bin/nvcc.*fx2ait-core\[cuda\]"):
        find_nvcc(settings, [])


def test_nvcc_needs_a_host_compiler(tmp_path):
    packages(tmp_path / "nvidia")
    with pytest.raises(ToolchainError, match=r"g\+\+"):
        find_nvcc(Settings(search_path=str(tmp_path)), [tmp_path / "nvidia"])


def test_identity_changes_with_either_compiler(tools, tmp_path):
    program(tools / "nvcc", NVCC)
    settings = Settings(search_path=str(tools))
    first = find_nvcc(settings, []).identity
    program(tools / "g++", GXX.replace("12.2.0", "13.1.0"))
    second = find_nvcc(settings, []).identity
    program(tools / "nvcc", NVCC.replace("13.0.88", "13.0.99"))
    assert len({first, second, find_nvcc(settings, []).identity}) == 3


def test_native_code_is_told_apart_by_what_native_means(tools):
    compiler = find_cxx(Settings(search_path=str(tools)))
    assert native_identity(compiler, ["-O3"]) == ""
    here = native_identity(compiler, ["-O3", "-march=native"])
    program(tools / "g++", GXX + "\n-mavx512f [enabled]")
    assert native_identity(compiler, ["-march=native"]) != here != ""
