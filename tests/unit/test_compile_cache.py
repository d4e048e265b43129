"""The compile cache: whole entries or none, whatever happens to disk and process."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx2ait_core.build import compile_cache
from fx2ait_core.build.compile_cache import CompileCache
from fx2ait_core.build.dependencies import Dependencies
from fx2ait_core.build.diagnostics import first_errors
from fx2ait_core.errors import BuildError

KEY = "0123456789abcdef" * 4


@pytest.fixture
def cache(tmp_path):
    return CompileCache.open(tmp_path)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "made.o"
    path.write_bytes(b"object code")
    return path


def test_stored_entries_are_found_under_their_key_only(cache, file):
    assert cache.find("objects", KEY, ".o") is None
    entry = cache.store("objects", KEY, ".o", file)
    assert cache.find("objects", KEY, ".o") == entry
    assert entry.read_bytes() == b"object code"
    assert cache.find("objects", KEY[::-1], ".o") is None
    assert cache.find("libraries", KEY, ".so") is None
    assert file.exists()


@pytest.mark.parametrize("damage", [b"", b"object", b"Object code", b"object code and more"])
def test_damaged_entries_are_dropped_with_a_warning(cache, file, damage):
    entry = cache.store("objects", KEY, ".o", file)
    file.unlink()  # it may share the entry's storage
    entry.write_bytes(damage)
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert cache.find("objects", KEY, ".o") is None
    assert not entry.exists()


def test_leftovers_of_an_interrupted_store_are_no_entries(cache, file):
    entry = cache.store("objects", KEY, ".o", file)
    (entry.parent / ".0badcafe").write_bytes(b"half")
    entry.unlink()
    assert cache.find("objects", KEY, ".o") is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_an_error_with_a_mend_and_leaves_the_cache_intact(cache, file, monkeypatch, code):
    before = cache.store("objects", KEY, ".o", file)

    def full(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(compile_cache.os, "link", full)
        with pytest.raises(BuildError, match=r"full.*FX2AIT_CACHE_DIR"):
            cache.store("objects", KEY[::-1], ".o", file)
    assert cache.find("objects", KEY, ".o") == before
    assert cache.find("objects", KEY[::-1], ".o") is None
    assert list((cache.folder / "work").iterdir()) == []
    assert cache.store("objects", KEY[::-1], ".o", file).exists()


def test_full_disk_while_copying_on_a_file_system_without_links(cache, file, monkeypatch):
    def no_links(*_args):
        raise OSError(errno.EPERM, "no links here")

    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(compile_cache.os, "link", no_links)
    assert cache.store("objects", KEY, ".o", file).read_bytes() == b"object code"
    monkeypatch.setattr(compile_cache.shutil, "copyfile", full)
    with pytest.raises(BuildError, match="full"):
        cache.store("objects", KEY[::-1], ".o", file)


@pytest.mark.parametrize("block", ["file", "folder"])
def test_a_folder_that_cannot_be_used_means_a_temporary_one_and_a_warning(tmp_path, block, monkeypatch):
    if block == "file":
        (tmp_path / "compile").write_text("in the way")
    else:
        (tmp_path / "compile").mkdir()
        real = compile_cache.tempfile.TemporaryFile
        refusing = lambda dir: _read_only() if dir == tmp_path / "compile" else real(dir=dir)  # noqa: E731
        monkeypatch.setattr(compile_cache.tempfile, "TemporaryFile", refusing)
    monkeypatch.setattr(compile_cache.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with pytest.warns(RuntimeWarning, match="FX2AIT_CACHE_DIR"):
        cache = CompileCache.open(tmp_path)
    file = cache.folder / "x"
    file.write_bytes(b"x")
    entry = cache.store("objects", KEY, ".o", file)
    with pytest.warns(RuntimeWarning, match="FX2AIT_CACHE_DIR"):
        assert CompileCache.open(tmp_path).find("objects", KEY, ".o") == entry, "the next use has the same"
    (own,) = (tmp_path / "temporary").iterdir()
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o777)  # others could put libraries there
    with pytest.warns(RuntimeWarning):
        assert CompileCache.open(tmp_path).folder != own


def test_no_folder_at_all_is_an_error_with_a_mend(tmp_path, monkeypatch):
    (tmp_path / "compile").write_text("in the way")
    monkeypatch.setattr(compile_cache.tempfile, "tempdir", str(tmp_path / "compile"))
    with pytest.raises(BuildError, match=r"Neither .*compile nor a folder .* Set FX2AIT_CACHE_DIR"):
        CompileCache.open(tmp_path)


def _read_only(*_args, **_kwargs):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_work_folders_of_killed_processes_are_removed_and_others_left(tmp_path):
    cache = CompileCache.open(tmp_path)
    with cache.work_folder() as living:
        host = living.name.rsplit("-", 2)[0]
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        dead = living.with_name(f"{host}-{child}-00000000")
        elsewhere = living.with_name(f"other.host-{child}-00000000")
        dead.mkdir()
        elsewhere.mkdir()
        CompileCache.open(tmp_path)
        assert living.exists() and elsewhere.exists() and not dead.exists()
    assert not living.exists()


def test_prune_keeps_the_newest(cache):
    for age, name in enumerate("abc"):
        folder = cache.folder / "failed" / name
        folder.mkdir(parents=True)
        os.utime(folder, (1000 - age, 1000 - age))
    cache.prune("failed", 2)
    assert sorted(p.name for p in (cache.folder / "failed").iterdir()) == ["a", "b"]


TREE = {
    "model.cpp": b'#include "fx2ait/a.h"\n',
    "kernels/k.cpp": b"#include <fx2ait/b.h>\n  #  include <vector>\n",
    "weights.S": b'.incbin "weights.bin"\n',
    "weights.bin": b"123",
    "README.md": b"prose",
    "include/fx2ait/a.h": b'#include "b.h"\n',
    "include/fx2ait/b.h": b"",
    "include/other/c.h": b"",
}


def test_dependencies_follow_includes_and_embedded_files():
    dependencies = Dependencies(TREE)
    assert dependencies.of("model.cpp") == ["include/fx2ait/a.h", "include/fx2ait/b.h", "model.cpp"]
    assert dependencies.of("kernels/k.cpp") == ["include/fx2ait/b.h", "kernels/k.cpp"]
    assert dependencies.of("weights.S") == ["weights.S", "weights.bin"]


def test_a_source_that_another_includes_is_not_compiled_by_itself():
    tree = {**TREE, "units/u.cpp": b'#include "../kernels/k.cpp"\n'}
    assert Dependencies(TREE).compiled() == ["kernels/k.cpp", "model.cpp", "weights.S"]
    assert Dependencies(tree).compiled() == ["model.cpp", "units/u.cpp", "weights.S"]
    assert Dependencies(tree).of("units/u.cpp") == ["include/fx2ait/b.h", "kernels/k.cpp", "units/u.cpp"]


def test_include_by_macro_depends_on_every_header():
    tree = {**TREE, "m.cpp": b"#include HEADER\n"}
    assert {"include/fx2ait/a.h", "include/other/c.h"} <= set(Dependencies(tree).of("m.cpp"))


@given(st.sampled_from(sorted(TREE)), st.sampled_from(sorted(n for n in TREE if n.endswith((".cpp", ".S")))))
def test_a_digest_changes_exactly_with_what_a_source_needs(changed, source):
    after = Dependencies({**TREE, changed: TREE[changed] + b"// changed\n"})
    before = Dependencies(TREE)
    assert (before.digest(source) != after.digest(source)) == (changed in before.of(source))
    assert before.tree_digest() != after.tree_digest()


def test_short_compiler_output_is_kept_whole():
    assert first_errors("a.cpp:1: error: x\n\n  note: y\n") == "a.cpp:1: error: x\n  note: y"


def test_long_compiler_output_is_cut_to_its_first_errors():
    lines = [f"a.cpp:{n}: note: in instantiation" for n in range(100)]
    lines += [f"a.cpp:{n}: error: number {n}\n   source line {n}" for n in range(12)]
    text = first_errors("\n".join(lines))
    assert "number 0" in text and "number 4" in text and "source line 4" in text
    assert "note:" not in text and "number 9" not in text
    assert text.endswith("… and 7 more lines with errors")


def test_folder_of_the_cache_is_independent_of_the_working_folder(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    cache = CompileCache.open(Path("relative"))
    entry = cache.store("objects", KEY, ".o", file)
    monkeypatch.chdir("/")
    assert entry.exists()
