"""Kernels that share a compiler call, and those that must not."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx2ait_core.emit.units import can_share, grouped, unit_text

PLAIN = '#include <cstdint>\n#include "a.h"\n\nnamespace {\n#pragma unroll\nint x;\n}\nvoid f() {}\n'


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 9))
def test_each_kernel_is_in_one_unit_of_its_family(families, most):
    groups = grouped([(family, PLAIN) for family in families], most)
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
    assert grouped([("k", PLAIN), ("k", other), ("k", PLAIN), ("k", other)]) == [[0, 2], [1, 3]]


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
    assert grouped([("k", text), ("k", PLAIN), ("k", text), ("k", PLAIN)]) == [[0], [1, 3], [2]]


@pytest.mark.parametrize(
    "line", ["#pragma GCC ivdep", "#  pragma unroll 4", "#pragma GCC unroll 8", "// #define N"]
)
def test_what_ends_with_a_file_does_not(line):
    assert can_share(f"{PLAIN}{line}\n")


def test_a_unit_reads_headers_outside_of_the_namespaces():
    text = unit_text({"kernels/x.cu": PLAIN, "kernels/y.cu": PLAIN}, "units")
    before, *parts = re.split(r"^namespace kernel_\d+ {$", text, flags=re.MULTILINE)
    assert re.findall(r"#include (.*)", before) == ["<cstdint>", '"a.h"']
    assert [re.findall(r"#include (.*)", part) for part in parts] == [
        ['"../kernels/x.cu"'],
        ['"../kernels/y.cu"'],
    ]
    assert '#include "kernels/x.cu"' in unit_text({"kernels/x.cu": PLAIN}, "")
