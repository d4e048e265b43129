"""The emitted source tree: contents, determinism, its way to disk, and plans that are refused."""

import dataclasses
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.numpy import load

from fx2ait_core.emit import emit as emission
from fx2ait_core.emit.emit import emit, library_name
from fx2ait_core.emit.identifiers import Identifiers, c_string
from fx2ait_core.emit.source_tree import SourceTree
from fx2ait_core.emit.weights import ALIGNMENT, pack
from fx2ait_core.errors import PlanError
from fx2ait_core.extend.contributions import KernelSource
from fx2ait_core.ir.dims import DimRange, symbol
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.types import tensor_type
from fx2ait_core.plan.plan import Location, PackedConstant, Port

LAUNCH = re.compile(r"  // (.+)\n(?:  auto.*\n)*  if \(call\.begin\((\d+)\)\) \{\n    (\w+)\(")


@pytest.fixture
def plan(plan_of, cpu_target):
    return plan_of(cpu_target[1])


@pytest.fixture
def backend(cpu_target):
    return cpu_target[0]


def changed(plan, **fields):
    return dataclasses.replace(plan, **fields)


def with_launch(plan, **fields):
    """The plan with its very first launch changed."""
    first = plan.buckets[0]
    launch = dataclasses.replace(first.launches[0], **fields)
    bucket = dataclasses.replace(first, launches=(launch, *first.launches[1:]))
    return changed(plan, buckets=(bucket, *plan.buckets[1:]))


def test_equal_plans_give_equal_bytes(plan_of, cpu_target):
    backend, target = cpu_target
    once, again = emit(plan_of(target), backend), emit(plan_of(target), backend)
    assert once == again
    assert list(once) == sorted(once)
    assert once != emit(plan_of(target, "another"), backend)


def test_the_model_lists_launches_by_node_in_order(plan, backend):
    text = emit(plan, backend).text(f"model{backend.source_suffix}")
    launches = LAUNCH.findall(text)
    assert launches == 2 * [
        ("layer.scale: scale", "0", "scale_kernel"),
        ("layer.increment: increment", "1", "increment_kernel"),
    ]
    assert "void run_batch_up_to_2(" in text
    assert "void run_batch_up_to_8(" in text
    assert "call.constant<float>(constants::layer_weight)" in text
    assert "auto* const layer_scale = call.arena<float>(512);" in text


def test_each_kernel_file_says_what_it_is(plan, backend):
    head = emit(plan, backend).text("kernels/scale_kernel.cpp").split("\n\n")[0]
    assert all(line.startswith("//") for line in head.splitlines())
    for part in (
        "test.scale",
        "float32[batch, 3]",
        "batch = 1..8",
        "plain_scale",
        "fx2ait-test 1.2",
        "Config(x=1)",
    ):
        assert part in head


def test_the_manifest_tells_the_whole_engine(plan, backend):
    tree = emit(plan, backend)
    data = json.loads(tree["manifest.json"])
    assert data["format_version"] == 1
    assert data["inputs"] == [
        {"name": "image", "shape": ["batch", 3], "dtype": "float32", "layout": "row_major"}
    ]
    assert data["symbols"] == {"batch": {"min": 1, "max": 8}}
    assert data["target"]["arch"] == plan.target.arch
    assert data["plugins"] == {"fx2ait-test": "1.2"}
    assert data["memory"]["arena"] == plan.arena_bytes
    assert [b["sizes"] for b in data["memory"]["buckets"]] == [{"batch": 2}, {"batch": 8}]
    assert [k["choice"] for k in data["plan"]["kernels"]] == ["measured", "measured"]
    assert data["plan"]["buckets"][1]["function"] == "run_batch_up_to_8"
    assert data["plan"]["buckets"][1]["launches"][1]["node"] == "layer.increment"
    for constant in data["weights"]["constants"]:
        raw = tree["weights.safetensors"][constant["file_offset"] :][: constant["bytes"]]
        assert raw == next(c for c in plan.constants if c.name == constant["name"]).array.tobytes()


def test_a_cached_choice_and_a_measured_one_are_emitted_alike(plan, backend):
    kernels = tuple(dataclasses.replace(kernel, choice="measured") for kernel in plan.kernels)
    assert emit(plan, backend) == emit(changed(plan, kernels=kernels), backend)


def test_ninja_compiles_every_source_of_the_tree(plan, backend):
    tree = emit(plan, backend)
    text = tree.text("build.ninja")
    units = [tree.text(path) for path in tree if path.startswith("units/")]
    sources = [path for path in tree if path.endswith((".cpp", ".S"))]
    sources = [path for path in sources if not any(f'"../{path}"' in unit for unit in units)]
    assert len(sources) >= 6
    for source in sources:
        assert re.search(rf"^build \S+: \w+ {re.escape(source)}\b", text, re.MULTILINE)
    assert not re.search(r"(^|[ =])/", text, re.MULTILINE), "all paths are relative"


array_dtypes = st.sampled_from([d.numpy for d in DType] + [np.dtype(np.uint8), np.dtype(np.int8)])


@given(st.lists(st.tuples(array_dtypes, st.lists(st.integers(0, 5), max_size=3)), max_size=6))
def test_weights_are_safetensors_with_aligned_data(kinds):
    made = [np.random.default_rng().integers(0, 2, shape).astype(dtype) for dtype, shape in kinds]
    constants = [PackedConstant(f'c{i} "é', array, 0) for i, array in enumerate(made)]
    weights = pack(constants)
    assert weights.start % ALIGNMENT == 0
    loaded = dict(deserialize(weights.data))
    for constant in constants:
        assert tuple(loaded[constant.name]["shape"]) == constant.array.shape
        assert bytes(loaded[constant.name]["data"]) == constant.array.tobytes()
        start = weights.start + weights.offsets[constant.name]
        assert weights.data[start : start + constant.array.nbytes] == constant.array.tobytes()


def test_weights_that_cannot_be_stored_are_refused():
    array = np.zeros(3, np.float32)
    with pytest.raises(PlanError, match="called 'same'; names must be unique"):
        pack([PackedConstant("same", array, 0), PackedConstant("same", array, 256)])
    with pytest.raises(PlanError, match="object"):
        pack([PackedConstant("odd", np.array([None]), 0)])


def test_a_transposed_constant_is_stored_in_its_logical_order():
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert np.array_equal(load(pack([PackedConstant("t", array, 0)]).data)["t"], array)


@given(st.lists(st.text(max_size=12), max_size=20))
def test_identifiers_are_valid_and_distinct(texts):
    names = Identifiers(["call", "batch"])
    made = [names(text) for text in texts]
    assert len(set(made) | {"call", "batch"}) == len(made) + 2
    assert all(re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) for name in made)
    assert not {"new", "int", "class"} & set(made)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_string_literals_keep_every_byte(text):
    literal = c_string(text)
    assert re.fullmatch(r'"[ -~]*"', literal)
    body = re.sub(r'\\([0-7]{3})|\\(["\\])', lambda m: chr(int(m[1], 8)) if m[1] else m[2], literal[1:-1])
    assert body.encode("latin-1").decode() == text


def test_library_names_are_file_names():
    assert library_name("../a b/é") == "_a_b__"
    assert library_name("...") == "engine"


# ---- plans that cannot be emitted ------------------------------------------------------------


def refused(plan, backend):
    with pytest.raises(PlanError) as caught:
        emit(plan, backend)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kernel": "missing"}, "no such kernel"),
        ({"results": ()}, "0 results and 2 operands; the launcher takes 1 and 2"),
        ({"results": (Location("constant", 256),)}, "a result cannot be written to constant 256"),
        ({"operands": (Location("input", 3), Location("constant", 256))}, "input 3 does not exist"),
        ({"operands": (Location("input", 0), Location("constant", 8))}, "constant 8 does not exist"),
        (
            {"operands": (Location("arena", 0), Location("constant", 256))},
            "x is external but lies in arena 0",
        ),
        ({"workspace": Location("arena", 1 << 20)}, "arena 1048576 does not exist"),
    ],
)
def test_a_launch_that_fits_nothing_is_named(plan, backend, fields, words):
    text = refused(with_launch(plan, **fields), backend)
    assert words in text
    assert "layer.scale" in text


def test_faults_of_ports_are_listed_together(plan, backend):
    batch = symbol("batch")
    ports = (
        Port("wide", tensor_type((2 * batch,) + 8 * (1,), DType.float32)),
        Port("precise", tensor_type((3,), DType.float64)),
        Port("odd", tensor_type((symbol("height"),), DType.float32)),
    )
    text = refused(changed(plan, inputs=ports), backend)
    assert "wide has rank 9" in text
    assert "precise is float64" in text
    assert "odd depends on height" in text
    assert "no input has a dimension that equals batch" in text


def test_buckets_must_serve_the_whole_range(plan, backend):
    assert "serves batch up to 2, but batch may be 8" in refused(
        changed(plan, buckets=plan.buckets[:1]), backend
    )
    assert "no bucket" in refused(changed(plan, buckets=()), backend)
    wider = changed(plan, symbols=(*plan.symbols, ("height", DimRange(1, 4))))
    assert "does not bound each of batch, height" in refused(wider, backend)


def test_two_kernels_of_one_name_are_refused(plan, backend):
    assert "same name" in refused(changed(plan, kernels=(*plan.kernels, plan.kernels[0])), backend)


def test_headers_of_one_path_and_two_texts_are_refused(plan, backend):
    sources = [KernelSource(k.source.text, {"mine/a.h": str(i)}) for i, k in enumerate(plan.kernels)]
    kernels = tuple(dataclasses.replace(k, source=s) for k, s in zip(plan.kernels, sources, strict=True))
    text = refused(changed(plan, kernels=kernels), backend)
    assert "plain_scale" in text
    assert "plain_increment" in text
    assert "mine/a.h" in text


# ---- to disk -----------------------------------------------------------------------------------


def test_a_tree_is_written_whole_and_replaces_what_was_there(tmp_path):
    tree = SourceTree({"a/b.txt": b"1", "c": b"2"})
    folder = tmp_path / "deep" / "tree"
    assert tree.write(folder) == folder
    (folder / "stale").touch()
    SourceTree({"a/b.txt": b"3"}).write(folder)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {"a/b.txt"}
    assert (folder / "a/b.txt").read_bytes() == b"3"
    assert [p.name for p in folder.parent.iterdir()] == ["tree"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    tree = SourceTree({"a": b"1"})
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        tree.write(tmp_path / "tree")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../b", "", "a//b"])
def test_paths_stay_inside_the_tree(path):
    with pytest.raises(ValueError, match="relative paths inside"):
        SourceTree({path: b""})


def test_headers_and_runtime_are_complete():
    assert {"fx2ait/error.h", "fx2ait/external_tensor.h", "fx2ait/model_interface.h"} <= set(
        emission.common_headers()
    )
    assert {"interface_run.cpp", "interface_queries.cpp", "ports.cpp"} <= set(emission.runtime_sources())
