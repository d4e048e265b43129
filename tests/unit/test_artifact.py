"""The engine file: any damage is seen, and it is refused with the reason before anything is loaded."""

import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fx2ait_core import compiler
from fx2ait_core.errors import ArtifactError, TargetError
from fx2ait_core.runtime import container_file
from fx2ait_core.runtime.artifact import check_target, extract_sources, inspect, load, save, weights
from fx2ait_core.runtime.container_file import check_seal, read_manifest, read_member, write_sealed
from fx2ait_core.runtime.weights import embedded_weights
from fx2ait_core.settings import Settings
from fx2ait_core.target.cuda.driver import NoDevice
from fx2ait_core.target.target import Target

HEADER = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  '
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + b"\1\2\3\4\5\6\7\x08"
LIBRARY = b'\x7fELF not really {"quoted": 1} \0\0' + WEIGHTS + b'\0 and on {"more'


def engine(tmp_path, sources=None):
    library = tmp_path / "built.so"
    library.write_bytes(LIBRARY)
    manifest = {
        "name": "tiny",
        "inputs": [],
        "outputs": [],
        "target": {"name": "cpu", "arch": "any", "features": []},
    }
    return SimpleNamespace(library_path=library, manifest=manifest, source_directory=sources)


@pytest.fixture
def saved(tmp_path):
    return save(engine(tmp_path), tmp_path / "tiny.fx2ait")


def never(*_args):
    raise AssertionError("nothing may be asked before the file is checked")


def test_any_zip_program_reads_it(saved):
    with zipfile.ZipFile(saved) as archive:
        assert archive.namelist() == ["manifest.json", "library.so"]
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert archive.read("library.so") == LIBRARY


def test_equal_engines_are_equal_files(saved, tmp_path):
    again = save(engine(tmp_path), tmp_path / "again.fx2ait")
    assert again.read_bytes() == saved.read_bytes()


def test_the_manifest_lists_members_and_weights(saved):
    manifest = inspect(saved)
    assert manifest["format"] == container_file.FORMAT
    assert manifest["members"]["library.so"]["bytes"] == len(LIBRARY)
    assert manifest["engine"]["name"] == "tiny"
    assert weights(saved) == WEIGHTS


def test_sources_travel_with_the_weights_stored_once(tmp_path):
    sources = tmp_path / "sources"
    (sources / "kernels").mkdir(parents=True)
    (sources / "kernels" / "k.cpp").write_text("code")
    (sources / "weights.safetensors").write_bytes(WEIGHTS)
    path = save(engine(tmp_path, sources), tmp_path / "e.fx2ait")
    assert path.read_bytes().count(WEIGHTS) == 1
    assert extract_sources(path, tmp_path / "out") == 2
    assert (tmp_path / "out" / "kernels" / "k.cpp").read_text() == "code"
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() == WEIGHTS


def test_sources_that_cannot_be_written(tmp_path):
    path = tmp_path / "e.fx2ait"
    write_sealed(path, {}, {"sources/kernels/k.cpp": b"code"})
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ArtifactError, match=r"file/kernels/k\.cpp cannot be written: Not a directory\. Choose"
    ):
        extract_sources(path, tmp_path / "file")
    with pytest.raises(ArtifactError, match=r"/dev/null/out/kernels/k\.cpp cannot be written"):
        extract_sources(path, Path("/dev/null/out"))


def test_members_do_not_leave_the_folder(tmp_path):
    path = tmp_path / "e.fx2ait"
    write_sealed(path, {}, {"sources/../../evil": b"x"})
    with pytest.raises(ArtifactError, match="outside"):
        extract_sources(path, tmp_path / "deep" / "out")
    assert not (tmp_path / "evil").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_any_altered_byte_is_noticed(saved, data):
    whole = saved.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(1, 255))
    damaged = saved.with_name("damaged")
    damaged.write_bytes(whole[:at] + bytes([whole[at] ^ value]) + whole[at + 1 :])
    with pytest.raises(ArtifactError, match=r"altered|no engine file"):
        load(damaged, Settings(), never)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(st.data())
def test_any_truncation_is_noticed(saved, data):
    whole = saved.read_bytes()
    short = saved.with_name("short")
    short.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(ArtifactError, match=r"truncated|no engine file"):
        load(short, Settings(), never)


def test_anything_appended_or_put_in_front_is_noticed(saved):
    whole = saved.read_bytes()
    for data in (whole + b"\0", whole[:-1] + whole, b"\0" + whole, whole + whole):
        saved.write_bytes(data)
        with pytest.raises(ArtifactError):
            check_seal(saved)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        inspect(tmp_path / "none")
    with pytest.raises(ArtifactError, match="cannot be read"):
        inspect(tmp_path)


def test_a_newer_format_is_refused_with_the_mend(tmp_path, monkeypatch):
    path = tmp_path / "new.fx2ait"
    with monkeypatch.context() as future:
        future.setattr(container_file, "FORMAT", 7)
        write_sealed(path, {"fx2ait": "fx2ait-core 9.1"}, {})
    with pytest.raises(
        ArtifactError, match=r"format 7 \(made by fx2ait-core 9\.1\).*up to 1.*pip install -r"
    ):
        load(path, Settings(), never)


@pytest.mark.parametrize("manifest", [b"no json", b"[1]", b"{}", b'{"format": "1"}', b'{"format": 1}'])
def test_sealed_nonsense(tmp_path, manifest):
    path = tmp_path / "odd.fx2ait"
    write_sealed(path, {}, {})
    # Written by someone who knows the seal but not the format.
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", manifest)
        archive.comment = b"-" * container_file._SEAL_SIZE
    size = path.stat().st_size - container_file._SEAL_SIZE
    seal = f"fx2ait-engine bytes={size:016d} sha256={container_file._sha256(path, size)}"
    path.write_bytes(path.read_bytes()[:size] + seal.encode())
    with pytest.raises(ArtifactError, match="manifest"):
        read_manifest(path)


def test_a_member_must_match_the_manifest(saved):
    listed = inspect(saved)["members"]
    assert read_member(saved, "library.so", listed) == LIBRARY
    listed["library.so"]["sha256"] = "0" * 64
    with pytest.raises(ArtifactError, match=r"library\.so does not match"):
        read_member(saved, "library.so", listed)
    with pytest.raises(ArtifactError, match="no member other"):
        read_member(saved, "other")


def test_another_machine_is_refused(saved, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ArtifactError, match="riscv64"):
        load(saved, Settings(), never)


def test_full_disk_leaves_the_old_file(saved, tmp_path, monkeypatch):
    before = saved.read_bytes()

    def full(_descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(container_file.os, "fsync", full)
    with pytest.raises(ArtifactError, match=r"No space left.*Free some space"):
        save(engine(tmp_path), saved)
    assert saved.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["built.so", "tiny.fx2ait"]


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(ArtifactError, match="cannot be written"):
        save(engine(tmp_path), tmp_path / "none" / "e.fx2ait")


def test_an_engine_does_not_take_a_devices_or_a_folders_place(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, kind in {"pipe": "a device", "folder": "a folder"}.items():
        with pytest.raises(ArtifactError, match=f"{name} cannot be written: it is {kind}"):
            save(engine(tmp_path), tmp_path / name)


CARD = Target("cuda", "sm_86", "A card", features=frozenset({"mma"}), properties={"compute_capability": 86})


@pytest.mark.parametrize(
    ("arch", "here", "runs"),
    [
        ("sm_86", 86, True),
        ("sm_80", 86, True),
        ("sm_89", 86, False),
        ("sm_90a", 90, False),  # here.arch differs from it: a card that is not sm_90a
        ("sm_80", 90, True),  # by PTX
        ("sm_90a", 100, False),
        ("sm_100", 103, True),
        ("sm_100a", 103, False),
    ],
)
def test_which_cards_run_code_for_which(arch, here, runs):
    card = Target("cuda", f"sm_{here}", "A card", properties={"compute_capability": here})
    wanted = {"name": "cuda", "arch": arch, "features": []}
    if runs:
        check_target(Path("e"), wanted, lambda name, arch: card)
    else:
        words = f"made for cuda {arch}.*A card.*Compile the model for {card.arch}"
        with pytest.raises(ArtifactError, match=words):
            check_target(Path("e"), wanted, lambda name, arch: card)


def test_missing_features_are_named():
    wanted = {"name": "cuda", "arch": "sm_90a", "features": ["mma", "wgmma"]}
    with pytest.raises(ArtifactError, match=r"A card.*lacks wgmma"):
        check_target(Path("e"), wanted, lambda name, arch: CARD)


def test_processors_run_code_whose_features_they_have():
    here = Target("cpu", "x86-64-v4", features=frozenset({"avx2", "avx512f"}))
    older = {"name": "cpu", "arch": "x86-64-v3", "features": ["avx2"]}
    check_target(Path("e"), older, lambda name, arch: here)
    with pytest.raises(ArtifactError, match="lacks amx"):
        check_target(Path("e"), {**older, "features": ["amx"]}, lambda name, arch: here)


def test_native_code_is_compared_with_all_that_is_here():
    asked = []
    check_target(
        Path("e"),
        {"name": "cpu", "arch": "native", "features": []},
        lambda name, arch: asked.append((name, arch)) or Target("cpu", "native"),
    )
    assert asked == [("cpu", "native")]


def test_no_device():
    def detect(name, arch):
        raise TargetError("no GPU; check the driver")

    with pytest.raises(ArtifactError, match="cuda sm_80, which cannot run here: no GPU; check the driver"):
        check_target(Path("e"), {"name": "cuda", "arch": "sm_80"}, detect)


def test_loading_without_a_gpu_says_nothing_of_compiling(tmp_path, monkeypatch):
    def no_device():
        raise NoDevice("no driver; install one")

    monkeypatch.setattr("fx2ait_core.target.cuda.backend.first_device", no_device)
    made = engine(tmp_path)
    made.manifest["target"] = {"name": "cuda", "arch": "sm_90a", "features": []}
    with pytest.raises(ArtifactError, match=r"sm_90a, which cannot run here: no driver; install one$"):
        compiler.load(save(made, tmp_path / "e.fx2ait"), settings=Settings())


def test_weights_are_found_among_other_braces(tmp_path):
    library = tmp_path / "l.so"
    library.write_bytes(LIBRARY)
    place = embedded_weights(library)
    assert LIBRARY[place["offset"] :][: place["bytes"]] == WEIGHTS
    library.write_bytes(b'{"' * 50 + json.dumps({"a": 1}).encode())
    assert embedded_weights(library) is None
