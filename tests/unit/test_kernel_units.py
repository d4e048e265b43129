"""Kernels that share a compiler call, and those that must not."""

import ctypes
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx2ait_core.emit.definitions import definitions
from fx2ait_core.emit.units import Member, can_share, grouped, unit_files

PLAIN = '#include <cstdint>\n#include "a.h"\n\nnamespace {\n#pragma unroll\nint x;\n}\nvoid f() {}\n'


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 9))
def test_each_kernel_is_in_one_unit_of_its_family(families, most):
    groups = grouped([Member(family, PLAIN) for family in families], most)
    assert sorted(index for group in groups for index in group) == list(range(len(families)))
    assert groups == sorted(groups)
    for group in groups:
        assert len({families[index] for index in group}) == 1
        assert group == sorted(group)
        assert len(group) <= most
    for family in set(families):
        lengths = [len(group) for group in groups if families[group[0]] == family]
        assert len(lengths) == -(-families.count(family) // most), "no more units than are needed"
        assert max(lengths) - min(lengths) <= 1, "processors are equally busy"


def test_kernels_with_other_headers_do_not_meet():
    other = PLAIN.replace('"a.h"', '"b.h"')
    assert grouped([Member("k", text) for text in (PLAIN, other, PLAIN, other)]) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    "line",
    [
        "#define N 3",
        "  #  ifdef N",
        "#undef N",
        "#include MACRO",
        '#pragma GCC optimize("O1")',
        "#pragma pack(1)",
        "#if __CUDA_ARCH__ >= 900",
    ],
)
def test_what_would_outlast_a_file_keeps_it_alone(line):
    text = f"{PLAIN}{line}\n"
    assert can_share(PLAIN) and not can_share(text)
    assert grouped([Member("k", each) for each in (text, PLAIN, text, PLAIN)]) == [[0], [1, 3], [2]]


@pytest.mark.parametrize(
    "line", ["#pragma GCC ivdep", "#  pragma unroll 4", "#pragma GCC unroll 8", "// #define N"]
)
def test_what_ends_with_a_file_does_not(line):
    assert can_share(f"{PLAIN}{line}\n")


def test_a_unit_reads_headers_outside_of_the_namespaces():
    files = unit_files("units/k.cu", {"kernels/x.cu": PLAIN, "kernels/y.cu": PLAIN}, "k")
    assert files["kernels/x.cu"] == files["kernels/y.cu"] == PLAIN and len(files) == 3
    before, *parts = re.split(r"^namespace kernel_\d+ {$", files["units/k.cu"], flags=re.MULTILINE)
    assert re.findall(r"#include (.*)", before) == ["<cstdint>", '"a.h"']
    assert [re.findall(r"#include (.*)", part) for part in parts] == [
        ['"../kernels/x.cu"'],
        ['"../kernels/y.cu"'],
    ]
    assert '#include "kernels/x.cu"' in unit_files("unit.cu", {"kernels/x.cu": PLAIN}, "k")["unit.cu"]


def kernel(name: str, tile: int, more: str = "") -> str:
    """A kernel's file; those with equal tiles define the same."""
    return (
        f"// {name}\n#include <cstdint>\n\nnamespace {{\n\nstruct Tile {{\n  int size = {tile};\n}};\n\n"
        f'}}  // namespace\n\nextern "C" int {name}() {{\n  return Tile().size;\n}}\n{more}'
    )


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=60), st.integers(1, 9))
def test_kernels_with_equal_definitions_are_in_one_unit_and_count_once(drawn, most):
    kernels = [(family, kernel(f"k{index}", tile)) for index, (family, tile) in enumerate(drawn)]
    groups = grouped([Member(*each) for each in kernels], most)
    assert sorted(index for group in groups for index in group) == list(range(len(drawn)))
    assert groups == sorted(groups)
    unit_of = {index: number for number, group in enumerate(groups) for index in group}
    for first, one in enumerate(drawn):
        assert {unit_of[index] for index, other in enumerate(drawn) if other == one} == {unit_of[first]}
    assert all(len({drawn[index] for index in group}) <= most for group in groups)


def test_a_kernel_of_great_effort_has_few_others_beside_it():
    efforts = [1, 1, 1, 1, 2, 2, 2, 9, 9]
    members = [Member("k", kernel(f"k{i}", i), effort) for i, effort in enumerate(efforts)]
    assert grouped(members, 4) == [[0, 1, 2, 3], [4], [5, 6], [7], [8]]


def test_equal_definitions_are_in_a_header_that_their_kernels_include_in_one_namespace():
    texts = {f"kernels/{name}.cu": kernel(name, tile) for name, tile in (("x", 1), ("y", 2), ("z", 1))}
    files = unit_files("units/k.cu", texts, "k")
    (header,) = set(files) - {*texts, "units/k.cu"}
    assert re.fullmatch(r"kernels/shared/k_[0-9a-f]{8}\.cuh", header)
    assert "#pragma once" in files[header] and "size = 1" in files[header]
    include = f'#include "{header.removeprefix("kernels/")}"'
    for name in "xz":
        text = files[f"kernels/{name}.cu"]
        assert include in text and "struct Tile" not in text and f'extern "C" int {name}()' in text
    assert files["kernels/y.cu"] == texts["kernels/y.cu"]
    parts = re.split(r"^namespace kernel_\d+ {$", files["units/k.cu"], flags=re.MULTILINE)[1:]
    assert [re.findall(r"kernels/(\w)\.cu", part) for part in parts] == [["x", "z"], ["y"]]
    assert unit_files("units/k.cu", texts, "k") == files


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        kernel("x", 1, "int more() {\n  return 1;\n}\n"),
        kernel("x", 1, "namespace {\nint more;\n}  // namespace\n"),
        kernel("x", 1).replace("namespace {", "int before;\n\nnamespace {", 1),
        kernel("x", 1).replace('extern "C"', 'int before;\nextern "C"'),
        kernel("x", 1).replace("#include <cstdint>", "#pragma unroll"),
    ],
)
def test_a_file_with_more_than_definitions_and_a_launcher_is_left_as_it_is(text):
    assert definitions(kernel("x", 1)) is not None and definitions(text) is None
    files = unit_files("units/k.cu", {"kernels/x.cu": text, "kernels/y.cu": text}, "k")
    assert files["kernels/x.cu"] == files["kernels/y.cu"] == text


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_what_compiles_apart_and_together_gives_the_same_answers(tmp_path):
    texts = {f"kernels/{name}.cpp": kernel(name, tile) for name, tile in (("x", 5), ("y", 7), ("z", 5))}
    trees = {"apart": texts, "together": unit_files("units/k.cpp", texts, "k")}
    for folder, files in trees.items():
        for path, text in files.items():
            (tmp_path / folder / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / path).write_text(text)
    compiler = ["g++", "-std=c++17", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]
    sources = {"apart": [*texts], "together": ["units/k.cpp"]}
    for folder, names in sources.items():
        subprocess.run([*compiler, "k.so", *names], cwd=tmp_path / folder, check=True)
        library = ctypes.CDLL(str(tmp_path / folder / "k.so"))
        assert [getattr(library, name)() for name in "xyz"] == [5, 7, 5]
    subprocess.run([*compiler, "k2.so", *texts], cwd=tmp_path / "together", check=True)
