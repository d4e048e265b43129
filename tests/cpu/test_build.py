"""The build room with the real compiler: reuse, errors, kills, rivals, full disks."""

import ctypes
import errno
import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from fx2ait_core.build.library import build, build_all
from fx2ait_core.errors import BuildError, ToolchainError
from fx2ait_core.settings import Settings
from fx2ait_core.target.target import Target

TARGET = Target("cpu", "any")
TREE = {
    "include/parts.h": b"int one(); int two();\n",
    "kernels/one.cpp": b'#include "parts.h"\nint one() { return 1; }\n',
    "kernels/two.cpp": b'#include "parts.h"\nint two() { return 2; }\n',
    "model.cpp": b'#include "parts.h"\nextern "C" int answer() { return 40 * one() + two(); }\n',
}


class Plain:
    source_suffix = ".cpp"

    def __init__(self, *flags):
        self.flags = flags

    def compile_flags(self, target):
        return ["-std=c++17", "-fPIC", "-Wall", *self.flags]

    def link_flags(self, target):
        return []


def make(tree, settings, backend=None, progress=None):
    return build(tree, backend or Plain(), TARGET, settings, progress)


def answer(built):
    return ctypes.CDLL(str(built.path)).answer()


@pytest.fixture
def settings(tmp_path):
    return Settings(cache_dir=tmp_path / "the cache")


def wrapper(folder, script):
    """A g++ that runs ``script`` before the real one."""
    folder.mkdir(exist_ok=True)
    path = folder / "g++"
    path.write_text(f'#!/bin/sh\n{script}\nexec /usr/bin/env -S PATH="{os.environ["PATH"]}" g++ "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return str(path)


def test_cold_then_warm(settings):
    seen = []
    cold = make(TREE, settings, progress=seen.append)
    assert answer(cold) == 42
    assert (cold.compiled, cold.reused) == (3, 0)
    assert [p.done for p in seen] == [1, 2, 3, 4] and {p.total for p in seen} == {4}
    assert {p.unit for p in seen} == {"kernels/one.cpp", "kernels/two.cpp", "model.cpp", "engine.so"}
    warm = make(TREE, settings, progress=lambda p: pytest.fail("nothing is to be done"))
    assert (warm.path, warm.compiled, warm.reused) == (cold.path, 0, 3)


def test_only_what_changed_is_compiled(settings):
    make(TREE, settings)
    changed = make({**TREE, "kernels/two.cpp": TREE["kernels/two.cpp"].replace(b"2", b"3")}, settings)
    assert answer(changed) == 43
    assert (changed.compiled, changed.reused) == (1, 2)
    header = make({**TREE, "include/parts.h": TREE["include/parts.h"] + b"int three();\n"}, settings)
    assert (header.compiled, header.reused) == (3, 0)
    prose = make({**TREE, "README.md": b"words"}, settings)
    assert (prose.compiled, prose.reused) == (0, 3)


def test_flags_and_architecture_are_part_of_the_key(settings):
    first = make(TREE, settings)
    assert make(TREE, settings, Plain("-O2")).key != first.key
    assert build(TREE, Plain(), Target("cpu", "other"), settings).key != first.key


def test_compiler_error_shows_words_command_and_source(settings):
    with pytest.raises(BuildError) as caught:
        make({**TREE, "kernels/one.cpp": b"int one() { return nothing; }\n"}, settings)
    text = str(caught.value)
    assert "kernels/one.cpp:1:20: error: 'nothing' was not declared" in text
    source = Path(next(line for line in text.splitlines() if line.startswith("source: "))[8:])
    assert source.read_text() == "int one() { return nothing; }\n"
    command = next(line for line in text.splitlines() if line.startswith("command: "))[9:]
    assert "-std=c++17 -fPIC -Wall" in command
    assert os.system(f"({command}) 2>/dev/null") != 0
    source.write_text("int one() { return 1; }\n")
    assert os.system(command) == 0, "the command repeats the failing call as it is shown"
    assert answer(make(TREE, settings)) == 42


def test_linker_error(settings):
    tree = {"model.cpp": b'int missing(); extern "C" int answer() { return missing(); }'}

    class Strict(Plain):
        def link_flags(self, target):
            return ["-Wl,--no-undefined"]

    with pytest.raises(BuildError, match=r"engine\.so failed(.|\n)*undefined reference(.|\n)*command: cd "):
        make(tree, settings, Strict())


def test_one_failing_tree_does_not_stop_the_others(settings):
    bad = {**TREE, "model.cpp": b"nonsense"}
    other = {**TREE, "model.cpp": TREE["model.cpp"].replace(b"40", b"50")}
    first, second, third, again = build_all([TREE, bad, other, TREE], Plain(), TARGET, settings)
    assert answer(first) == 42 and answer(third) == 52 and again == first
    assert isinstance(second, BuildError) and "nonsense" in str(second)


def test_damaged_library_and_object_are_built_again(settings):
    built = make(TREE, settings)
    for path in [p for p in (settings.cache_dir / "compile").rglob("*") if p.suffix in (".so", ".o")]:
        path.write_bytes(path.read_bytes()[:-10])
    with pytest.warns(RuntimeWarning, match="damaged"):
        again = make(TREE, settings)
    assert again.compiled == 3 and answer(again) == 42
    assert again.path.read_bytes() == built.path.read_bytes()


def test_unwritable_cache_is_a_warning(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match="FX2AIT_CACHE_DIR"):
        assert answer(make(TREE, Settings(cache_dir=tmp_path / "file"))) == 42


def test_no_compiler(tmp_path):
    with pytest.raises(ToolchainError, match="apt-get"):
        make(TREE, Settings(cache_dir=tmp_path, search_path=str(tmp_path)))


def test_full_disk_while_compiling(settings, tmp_path):
    words = "fatal error: error writing to x.s: No space left on device"
    full = f'case "$*" in *two.cpp*) echo "{words}"; exit 1;; esac'
    broken = Settings(cache_dir=settings.cache_dir, cxx=wrapper(tmp_path / "bin", full))
    with pytest.raises(BuildError, match=r"disk is full(.|\n)*FX2AIT_CACHE_DIR"):
        make(TREE, broken)
    assert answer(make(TREE, settings)) == 42


def test_full_disk_while_the_sources_are_written(settings, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(BuildError, match=r"full.*FX2AIT_CACHE_DIR.*run again"):
            make(TREE, settings)
    assert answer(make(TREE, settings)) == 42


def test_sources_are_kept_where_asked(tmp_path):
    settings = Settings(cache_dir=tmp_path)
    assert make(TREE, settings).sources is None
    keeping = Settings(cache_dir=tmp_path, keep_sources=True)
    for _ in range(2):
        kept = make(TREE, keeping).sources
        assert (kept / "kernels" / "one.cpp").read_bytes() == TREE["kernels/one.cpp"]


def test_nothing_is_left_behind(settings):
    make(TREE, settings)
    with pytest.raises(BuildError):
        make({**TREE, "model.cpp": b"nonsense"}, settings)
    assert list((settings.cache_dir / "compile" / "work").iterdir()) == []
    assert not [p for p in (settings.cache_dir / "compile").rglob("*") if p.suffix == ".partial"]


def _build_with(cxx, cache_dir, out):
    built = make(TREE, Settings(cache_dir=cache_dir, cxx=cxx, jobs=2))
    out.put((str(built.path), built.compiled, answer(built)))


def _start(cxx, cache_dir, out):
    process = multiprocessing.get_context("spawn").Process(target=_build_with, args=(cxx, cache_dir, out))
    process.start()
    return process


def _wait_for(condition, seconds=60.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_build_and_the_next_run(settings, tmp_path, sign):
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"
    cxx = wrapper(tmp_path / "bin", f'case "$*" in *two.cpp*) {wait};; esac')
    out = multiprocessing.get_context("spawn").Queue()
    process = _start(cxx, settings.cache_dir, out)
    objects = settings.cache_dir / "compile" / "objects"
    _wait_for(lambda: len(list(objects.rglob("*.o"))) == 2)  # the other two are done and stored
    os.kill(process.pid, sign)
    process.join(20)
    assert process.exitcode != 0
    (tmp_path / "go").touch()
    built = make(TREE, Settings(cache_dir=settings.cache_dir, cxx=cxx))
    assert answer(built) == 42
    assert (built.compiled, built.reused) == (1, 2), "what was done before is used"
    assert list((settings.cache_dir / "compile" / "work").iterdir()) == []


@pytest.mark.slow
def test_concurrent_builds_share_the_work(settings, tmp_path):
    cxx = wrapper(tmp_path / "bin", f'case "$*" in *-c*) echo x >> "{tmp_path}/calls"; sleep 0.5;; esac')
    out = multiprocessing.get_context("spawn").Queue()
    processes = [_start(cxx, settings.cache_dir, out) for _ in range(3)]
    results = [out.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    assert {answer for _, _, answer in results} == {42}
    assert len({path for path, _, _ in results}) == 1
    assert sorted(compiled for _, compiled, _ in results) == [0, 0, 3]
    assert len((tmp_path / "calls").read_text().splitlines()) == 3
