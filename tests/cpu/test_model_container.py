"""The model container on the CPU: an emitted tree built by hand with ninja, called through the C ABI."""

import ctypes
import json
import shutil
import subprocess
import threading
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import ml_dtypes
import ninja
import numpy as np
import pytest

from fx2ait_core.emit.emit import emit, library_name

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

WEIGHT = np.array([2, 3, 5], np.float32)
DTYPES = {"float16": 1, "float32": 2, "int32": 3, "int64": 4, "bool": 5, "bfloat16": 6, "float64": 9}
PREFIX = "AITemplateModelContainer"


class Shape(ctypes.Structure):
    _fields_ = (("data", POINTER(c_int64)), ("size", c_size_t))


class AITData(ctypes.Structure):
    _fields_ = (("ptr", c_void_p), ("shape", Shape), ("dtype", c_int))


class Tensor(ctypes.Structure):
    _fields_ = (
        ("ptr", c_void_p),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("rank", c_size_t),
        ("dtype", c_int),
    )


def strided(*arrays):
    """``Fx2aitTensor`` views of arrays; the views keep what they point to."""
    made = (Tensor * len(arrays))()
    for item, array in zip(made, arrays, strict=True):
        item.ptr = array.ctypes.data
        item.shape = (c_int64 * array.ndim)(*array.shape)
        item.strides = (c_int64 * array.ndim)(*(stride // array.itemsize for stride in array.strides))
        item.rank, item.dtype = array.ndim, DTYPES[array.dtype.name]
    return made


def dense(*arrays):
    """``AITData`` views of dense arrays."""
    made = (AITData * len(arrays))()
    for item, array in zip(made, arrays, strict=True):
        item.ptr, item.dtype = array.ctypes.data, DTYPES[array.dtype.name]
        item.shape.data, item.shape.size = (c_int64 * array.ndim)(*array.shape), array.ndim
    return made


class Engine:
    """The C ABI with failures as exceptions."""

    def __init__(self, path, runtimes=1):
        self.library = ctypes.CDLL(str(path))
        self.library.Fx2aitGetLastError.restype = c_char_p
        self.handle = c_void_p()
        assert (
            getattr(self.library, f"{PREFIX}Create")(ctypes.byref(self.handle), c_size_t(runtimes), None) == 0
        )

    def delete(self):
        assert getattr(self.library, f"{PREFIX}Delete")(self.handle) == 0

    def error(self):
        return self.library.Fx2aitGetLastError().decode()

    def call(self, function, *arguments):
        function = function if function.startswith("Fx2ait") else PREFIX + function
        if getattr(self.library, function)(self.handle, *arguments) != 0:
            raise RuntimeError(self.error())

    def get(self, function, kind, *arguments):
        out = kind()
        self.call(function, *arguments, ctypes.byref(out))
        return out.value

    def run(self, x, output=None):
        if output is None:
            output = np.full(x.shape, np.nan, np.float32)
        self.call("Fx2aitRun", strided(x), c_size_t(1), strided(output), c_size_t(1), None, c_bool(True))
        return output


def expected(x, weight=WEIGHT):
    return x.astype(np.float32) * weight + np.float32(1)


def image(batch):
    return np.random.default_rng().standard_normal((batch, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def library(tmp_path_factory, plan_of, cpu_target):
    backend, target = cpu_target
    plan = plan_of(target)
    folder = emit(plan, backend).write(tmp_path_factory.mktemp("engine") / "tree")
    words = [Path(ninja.BIN_DIR) / "ninja"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout
    return folder / f"{library_name(plan.name)}.so"


@pytest.fixture
def engine(library):
    made = Engine(library)
    yield made
    made.delete()


def failure(function, *arguments):
    with pytest.raises(RuntimeError) as caught:
        function(*arguments)
    return str(caught.value)


# ---- running -----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", range(1, 9))
def test_every_batch_of_the_range(engine, batch):
    x = image(batch)
    assert np.array_equal(engine.run(x), expected(x))


def test_buckets_alternate_without_dirty_workspaces(engine):
    for batch in (1, 8, 2, 3, 1, 8):
        x = image(batch)
        assert np.array_equal(engine.run(x), expected(x))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_inputs_of_any_float_dtype_and_strides(engine, dtype):
    whole = np.random.default_rng().standard_normal((6, 10)).astype(dtype)
    for x in (whole[:4, :3], whole[::2, ::3][:, :3], whole.T[:8, :3], np.broadcast_to(whole[:1, :3], (5, 3))):
        assert np.array_equal(engine.run(x), expected(x))


def test_a_host_for_aitemplate_engines_runs_it(library, tmp_path):
    host = tmp_path / "host"
    source = Path(__file__).parent / "ait_host.cpp"
    include = library.parent / "include"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{include}"]
    subprocess.run(["g++", *flags, source, "-o", host, "-ldl"], check=True)
    done = subprocess.run([host, library], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_the_interface_is_c_too(library, tmp_path):
    source = tmp_path / "host.c"
    source.write_text(
        '#include "fx2ait/model_interface.h"\nint rank(Fx2aitTensor t) { return (int)t.rank; }\n'
    )
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{library.parent / 'include'}"]
    subprocess.run(["g++", "-x", "c", *flags, "-c", source, "-o", tmp_path / "host.o"], check=True)


def test_only_the_interface_is_exported(library):
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    strong = {name for _, kind, name in rows if kind in "TBDR"}
    declared = (library.parent / "include/fx2ait/model_interface.h").read_text()
    assert strong
    assert all(f"{name}(" in declared for name in strong)
    assert not [name for _, kind, name in rows if kind == "u"], "unique symbols keep a library loaded"


def test_threads_and_runtimes_at_once(library):
    engine = Engine(library, runtimes=3)
    failures = []

    def work():
        for _ in range(50):
            x = image(np.random.default_rng().integers(1, 9))
            if not np.array_equal(engine.run(x), expected(x)):
                failures.append(x)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.delete()
    assert not failures


def test_two_engines_in_one_process(engine, library):
    other = Engine(library)
    x = image(4)
    assert np.array_equal(engine.run(x), other.run(x))
    other.delete()
    assert np.array_equal(engine.run(x), expected(x))


def test_threads_can_be_set(engine):
    x = image(8)
    for threads in (1, 3, 2):
        engine.call("Fx2aitSetThreads", c_size_t(threads))
        assert np.array_equal(engine.run(x), expected(x))
    assert "threads is 0" in failure(engine.call, "Fx2aitSetThreads", c_size_t(0))


# ---- inputs and outputs --------------------------------------------------------------------------


def test_ports_are_described(engine):
    assert engine.get("GetNumInputs", c_size_t) == 1
    assert engine.get("GetNumOutputs", c_size_t) == 1
    assert engine.get("GetNumRuntimes", c_size_t) == 1
    assert engine.get("GetInputName", c_char_p, c_size_t(0)) == b"image"
    assert engine.get("GetOutputName", c_char_p, c_size_t(0)) == b"sum"
    assert engine.get("GetInputDtype", c_int, c_size_t(0)) == 2
    for function in ("GetMaximumInputShape", "GetMaximumOutputShape"):
        shape = Shape()
        engine.call(function, c_size_t(0), ctypes.byref(shape))
        assert shape.data[: shape.size] == [8, 3]
    for function in ("GetInputName", "GetInputDtype", "GetMaximumInputShape"):
        assert "input 1 does not exist; there are 1" in failure(engine.get, function, c_char_p, c_size_t(1))
    assert "output 7 does not exist" in failure(engine.get, "GetOutputName", c_char_p, c_size_t(7))


def test_output_shapes_are_inferred_without_running(engine):
    buffer = (c_int64 * 2)()
    pointers = (POINTER(c_int64) * 1)(buffer)
    engine.call("Fx2aitInferOutputShapes", strided(image(5)), c_size_t(1), pointers, c_size_t(1))
    assert list(buffer) == [5, 3]
    words = failure(
        engine.call, "Fx2aitInferOutputShapes", strided(image(5)), c_size_t(1), pointers, c_size_t(2)
    )
    assert "num_outputs" in words


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (
            np.zeros((9, 3), np.float32),
            'input 0 "image" has shape [9, 3]: dimension 0 is 9; accepted is batch = 1..8',
        ),
        (np.zeros((0, 3), np.float32), "dimension 0 is 0; accepted is batch = 1..8"),
        (np.zeros((4, 2), np.float32), "dimension 1 is 2 and must be 3; accepted is [batch = 1..8, 3]"),
        (np.zeros((4, 3, 1), np.float32), "has shape [4, 3, 1] of rank 3; accepted is [batch = 1..8, 3]"),
        (np.zeros((4, 3), np.int32), "is int32; accepted is float32, float16 or bfloat16"),
        (np.zeros((4, 3), np.float64), "input 0 has dtype 9, which is none of the ABI's 0..6"),
        (np.zeros((4, 3), np.float32)[::-1], "has a negative stride"),
        (np.zeros(9 * (1,), np.float32), "has rank 9; at most 8"),
        (np.frombuffer(bytes(49), np.uint8)[1:].view(np.float32).reshape(4, 3), "not aligned to 4 bytes"),
    ],
)
def test_a_wrong_input_is_refused_and_nothing_runs(engine, x, words):
    output = np.full((x.shape[0] if x.ndim else 1, 3), 7, np.float32)
    assert words in failure(engine.run, x, output)
    assert np.all(output == 7)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (np.zeros((8, 3), np.float32), 'output 0 "sum" has shape [8, 3]; the result has [4, 3]'),
        (np.zeros((4, 3), np.float16), 'output 0 "sum" is float16; accepted is float32'),
        (np.zeros((3, 4), np.float32).T, "has strides [1, 4]; accepted for shape [4, 3] is [3, 1]"),
        (np.zeros(12, np.float32), "of rank 1"),
    ],
)
def test_a_wrong_output_is_refused(engine, output, words):
    assert words in failure(engine.run, image(4), output)


def run_dense(engine, inputs, outputs, count=None):
    arguments = [dense(*inputs), c_size_t(len(inputs)), dense(*outputs), c_size_t(count or len(outputs))]
    engine.call("Run", *arguments, None, c_bool(True), c_bool(False), None)


def test_room_for_more_than_the_result_is_enough_and_for_less_is_refused(engine):
    x, output = image(4), np.zeros((8, 3), np.float32)
    run_dense(engine, [x], [output])
    assert np.array_equal(output[:4], expected(x))
    assert np.all(output[4:] == 0)
    assert "the result has [4, 3]" in failure(run_dense, engine, [x], [output[:3]])


def test_wrong_counts_and_null_arguments_are_refused(engine):
    x = image(4)
    assert "2 inputs were given; the engine has 1: image" in failure(run_dense, engine, [x, x], [x])
    assert "0 outputs were given; the engine has 1: sum" in failure(run_dense, engine, [x], [])
    null = strided(x)
    null[0].ptr = None
    arguments = [c_size_t(1), strided(x), c_size_t(1), None, c_bool(False)]
    assert 'input 0 "image" has a null data pointer' in failure(engine.call, "Fx2aitRun", null, *arguments)
    null[0].shape = None
    assert "input 0 has a null shape" in failure(engine.call, "Fx2aitRun", null, *arguments)
    assert 'argument "input" is null' in failure(engine.call, "Fx2aitRun", None, *arguments)
    assert 'argument "out" is null' in failure(engine.call, "GetNumInputs", None)
    create, delete = (getattr(engine.library, PREFIX + name) for name in ("Create", "Delete"))
    assert create(None, c_size_t(1), None) == 1
    assert delete(None) == 1
    assert 'argument "handle" is null' in engine.error()
    assert create(ctypes.byref(c_void_p()), c_size_t(0), None) == 1
    assert "num_runtimes is 0" in engine.error()


def test_a_failing_kernel_is_named_and_the_engine_lives_on(engine):
    x = image(8)
    x[0, 0] = -1
    words = failure(engine.run, x)
    assert words == (
        'engine "scale and increment", launch 0, kernel scale_kernel for node "layer.scale": '
        "minus one is refused"
    )
    x[0, 0] = 1
    assert np.array_equal(engine.run(x), expected(x))


def test_errors_belong_to_their_thread(engine):
    failure(engine.run, image(9))
    seen = []
    thread = threading.Thread(target=lambda: seen.append(engine.error()))
    thread.start()
    thread.join()
    assert seen == [""]
    assert "batch = 1..8" in engine.error()


# ---- constants -----------------------------------------------------------------------------------


def names(*texts):
    return (c_char_p * len(texts))(*(text.encode() for text in texts))


def test_constants_are_listed(engine):
    count = engine.get("GetNumConstants", c_size_t, c_bool(False), c_bool(False))
    found = (c_char_p * count)()
    engine.call("GetConstantNames", c_bool(False), c_bool(False), found)
    assert sorted(found) == [b"layer.weight", b"spare"]
    assert engine.get("GetNumConstants", c_size_t, c_bool(True), c_bool(False)) == 0
    assert engine.get("GetConstantDtype", c_int, b"layer.weight") == DTYPES["float32"]
    assert engine.get("GetConstantOriginalName", c_char_p, b"layer.weight") == b"layer.weight"
    assert 'constant "none" does not exist' in failure(engine.get, "GetConstantDtype", c_int, b"none")


def test_constants_are_replaced(engine):
    x = image(4)
    new = np.array([1, -1, 0.5], np.float32)
    engine.call("SetConstant", b"layer.weight", dense(new))
    assert np.array_equal(engine.run(x), expected(x, new))
    both = dense(WEIGHT, np.zeros(5, np.int64))
    engine.call("SetManyConstants", names("layer.weight", "spare"), both, c_size_t(2))
    assert np.array_equal(engine.run(x), expected(x))


def test_a_constant_that_does_not_fit_changes_nothing(engine):
    x = image(4)
    good, wrong = np.ones(3, np.float32), np.zeros(3, np.int64)
    both = dense(good, wrong)
    assert '"spare" has 24 bytes; accepted is the packed form of 40 bytes' in failure(
        engine.call, "SetManyConstants", names("layer.weight", "spare"), both, c_size_t(2)
    )
    assert '"layer.weight" is float16; accepted is float32' in failure(
        engine.call, "SetConstant", b"layer.weight", dense(good.astype(np.float16))
    )
    assert np.array_equal(engine.run(x), expected(x))


def test_the_second_set_waits_for_the_swap(engine):
    x = image(4)
    new, newer = np.array([1, -1, 0.5], np.float32), np.array([0, 1, 0], np.float32)
    assert "no second set" in failure(engine.call, "SwapConstants")
    engine.call("SetDoubleBufferConstant", None, b"layer.weight", dense(new))
    engine.call("FoldConstantsInDoubleBuffer", None, c_bool(True))
    assert np.array_equal(engine.run(x), expected(x))
    engine.call("SwapConstants")
    assert np.array_equal(engine.run(x), expected(x, new))
    engine.call("SetManyDoubleBufferConstants", None, names("layer.weight"), dense(newer), c_size_t(1))
    assert np.array_equal(engine.run(x), expected(x, new))
    engine.call("SwapConstants")
    assert np.array_equal(engine.run(x), expected(x, newer))
    engine.call("SwapConstants")
    assert np.array_equal(engine.run(x), expected(x, new))


# ---- measuring -----------------------------------------------------------------------------------


def test_launches_are_listed_by_bucket(engine):
    assert engine.get("Fx2aitGetBucketCount", c_size_t) == 2
    assert engine.get("Fx2aitGetLaunchCount", c_size_t, c_size_t(1)) == 2
    node, kernel = c_char_p(), c_char_p()
    engine.call("Fx2aitGetLaunchName", c_size_t(1), c_size_t(1), ctypes.byref(node), ctypes.byref(kernel))
    assert (node.value, kernel.value) == (b"layer.increment", b"increment_kernel")
    assert "launch 2 does not exist" in failure(
        engine.call, "Fx2aitGetLaunchName", c_size_t(1), c_size_t(2), None, None
    )
    assert "bucket 2 does not exist" in failure(engine.get, "Fx2aitGetLaunchCount", c_size_t, c_size_t(2))
    assert engine.get("Fx2aitGetMemoryBytes", c_size_t) == 512 + 768


def test_a_profile_times_each_launch(engine, tmp_path):
    x, output = image(3), np.zeros((3, 3), np.float32)
    arguments = [dense(x), c_size_t(1), dense(output), c_size_t(1), None]
    file = tmp_path / "profile.json"
    engine.call("Profile", *arguments, c_size_t(5), str(file).encode())
    report = json.loads(file.read_text())
    assert (report["model"], report["iterations"], report["bucket"]) == ("scale and increment", 5, 1)
    assert [launch["node"] for launch in report["launches"]] == ["layer.scale", "layer.increment"]
    assert all(launch["ms_per_iteration"] > 0 for launch in report["launches"])
    assert sum(launch["share"] for launch in report["launches"]) == pytest.approx(1, abs=1e-4)
    assert np.array_equal(output, expected(x))
    nowhere = str(tmp_path / "none" / "p.json").encode()
    assert "could not be written" in failure(engine.call, "Profile", *arguments, c_size_t(1), nowhere)
    assert "at least 1 iteration" in failure(
        engine.call, "Profile", *arguments, c_size_t(0), str(file).encode()
    )
    times, bucket = (c_float * 2)(), c_size_t()
    arguments = [strided(x), c_size_t(1), strided(output), c_size_t(1), None, c_size_t(3)]
    engine.call("Fx2aitProfile", *arguments, times, c_size_t(2), ctypes.byref(bucket))
    assert bucket.value == 1
    assert min(times) > 0
    assert "room for only 1" in failure(engine.call, "Fx2aitProfile", *arguments, times, c_size_t(1), None)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_benchmark_gives_the_time_of_a_run(engine, threads):
    x, output = image(3), np.zeros((3, 3), np.float32)
    buffer = (c_int64 * 2)()
    shapes = (POINTER(c_int64) * 1)(buffer)
    milliseconds = c_float()
    arguments = [dense(x), c_size_t(1), dense(output), c_size_t(1), None, c_bool(False)]
    engine.call(
        "Benchmark",
        *[*arguments, c_size_t(20), c_size_t(threads), c_bool(True), ctypes.byref(milliseconds), shapes],
    )
    assert 0 < milliseconds.value < 1000
    assert list(buffer) == [3, 3]
    x[0, 0] = -1
    assert "minus one is refused" in failure(
        engine.call,
        "Benchmark",
        *[*arguments, c_size_t(20), c_size_t(threads), c_bool(False), ctypes.byref(milliseconds), None],
    )
    assert "at least 1" in failure(
        engine.call,
        "Benchmark",
        *[*arguments, c_size_t(0), c_size_t(1), c_bool(False), ctypes.byref(milliseconds), None],
    )
