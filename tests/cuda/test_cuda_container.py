"""The model container on CUDA: compiled for architectures unseen, and run where there is a GPU."""

import ctypes
import shutil
import subprocess
import threading
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import ninja
import pytest
import torch

from fx2ait_core.emit.emit import emit, library_name
from fx2ait_core.runtime.library import Container, tensor_array
from fx2ait_core.runtime.ports import ABI_DTYPES
from fx2ait_core.settings import Settings
from fx2ait_core.target.cuda import CudaBackend

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def built(plan, backend, folder):
    """The library of the emitted tree, built by its own ``build.ninja``."""
    emit(plan, backend).write(folder)
    words = [Path(ninja.BIN_DIR) / "ninja"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout
    return folder / f"{library_name(plan.name)}.so"


@pytest.mark.nvcc
@needs_nvcc
def test_the_tree_compiles_without_warnings(plan_of, cuda_target, tmp_path):
    backend, target = cuda_target
    library = built(plan_of(target), backend, tmp_path / "tree")
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    strong = {name for _, kind, name in rows if kind in "TBDR"}
    assert "AITemplateModelContainerRun" in strong
    assert not [name for name in strong if name.startswith("cuda")], "the runtime inside stays inside"
    assert not [name for _, kind, name in rows if kind == "u"], "unique symbols keep a library loaded"
    if not torch.cuda.is_available():
        loaded = ctypes.CDLL(str(library))
        loaded.Fx2aitGetLastError.restype = c_char_p
        assert loaded.AITemplateModelContainerCreate(ctypes.byref(c_void_p()), c_size_t(1), None) == 1
        assert b"cuda" in loaded.Fx2aitGetLastError()


class AITData(ctypes.Structure):
    """A dense tensor as AITemplate's hosts pass it."""

    _fields_ = (("ptr", c_void_p), ("shape", POINTER(c_int64)), ("rank", c_size_t), ("dtype", c_int))


# ---- with a GPU ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(plan_of, tmp_path_factory):
    backend = CudaBackend()
    return built(
        plan_of(backend.detect(None, Settings())), backend, tmp_path_factory.mktemp("engine") / "tree"
    )


@pytest.fixture
def engine(library):
    return Container(library, 2)


def image(batch, dtype=torch.float32):
    return torch.randn(batch, 3, device="cuda", dtype=dtype)


def expected(x):
    scaled = (x.float() * torch.tensor([2.0, 3.0, 5.0], device=x.device)).half()
    return scaled.float() + 1


def tensors(*given):
    made = tensor_array(
        [x.shape for x in given], [x.stride() for x in given], [ABI_DTYPES[x.dtype] for x in given]
    )
    for slot, tensor in zip(made, given, strict=True):
        slot.ptr = tensor.data_ptr()
    return made


def run(engine, x, output=None, graph=True):
    """On PyTorch's current stream."""
    output = torch.full(x.shape, float("nan"), device="cuda") if output is None else output
    stream = torch.cuda.current_stream().cuda_stream
    engine.call("Fx2aitRun", engine.handle, tensors(x), 1, tensors(output), 1, stream, graph)
    return output


@pytest.mark.cuda
@needs_gpu
@needs_nvcc
class TestOnGpu:
    @pytest.mark.parametrize("graph", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_batches_dtypes_and_strides(self, engine, graph, dtype):
        whole = image(24, dtype).reshape(8, 9)
        for batch in (1, 2, 3, 8, 1):
            for x in (image(batch, dtype), whole[:batch, ::3], whole[:batch, 1:4]):
                for _ in range(3):  # plain, recorded, replayed
                    assert torch.equal(run(engine, x, graph=graph), expected(x))

    @pytest.mark.parametrize("byte", [0xFF, 0x00, 0x7B])
    def test_answers_do_not_depend_on_what_lay_in_memory(self, engine, byte):
        x, output = image(4), torch.zeros(4, 3, device="cuda")
        for _ in range(4):  # plain, recorded, replayed
            engine.call("Fx2aitFillActivations", engine.handle, byte)
            output.fill_(torch.nan)
            assert torch.equal(run(engine, x, output), expected(x))

    @pytest.mark.parametrize("own_stream", [False, True])
    def test_each_launch_is_timed_by_itself(self, engine, own_stream):
        with torch.cuda.stream(torch.cuda.Stream() if own_stream else None):
            x, output = image(4), torch.zeros(4, 3, device="cuda")
            stream = torch.cuda.current_stream().cuda_stream
            bucket, times = engine.time_launches(tensors(x), tensors(output), stream, 0.5, 3)
            assert bucket == 1
            assert [t.node for t in times] == ["layer.scale", "layer.increment"]
            assert all(0.0002 < t.milliseconds < 0.1 for t in times)
            assert torch.equal(run(engine, x), expected(x))

    def test_replays_see_new_contents(self, engine):
        x, output = image(4), torch.zeros(4, 3, device="cuda")
        for _ in range(6):
            x.normal_()
            output.fill_(torch.nan)
            assert torch.equal(run(engine, x, output), expected(x))

    def test_more_graphs_than_are_kept(self, engine):
        inputs = [image(4) for _ in range(80)]
        outputs = [torch.zeros(4, 3, device="cuda") for _ in inputs]
        for _ in range(3):
            for first in range(0, 80, 16):  # each key comes again before it is forgotten
                for _ in range(3):
                    for x, output in zip(
                        inputs[first : first + 16], outputs[first : first + 16], strict=True
                    ):
                        output.fill_(torch.nan)
                        run(engine, x, output)
            assert all(torch.equal(o, expected(x)) for x, o in zip(inputs, outputs, strict=True))

    @pytest.mark.parametrize("graph", [False, True])
    def test_streams_share_runtimes_in_order(self, library, graph):
        engine = Container(library, 1)
        streams = [torch.cuda.Stream() for _ in range(4)]
        torch.cuda.synchronize()
        pairs = []
        for i in range(100):
            with torch.cuda.stream(streams[i % 4]):
                x = image(1 + i % 8)
                pairs.append((x, run(engine, x, graph=graph)))
        torch.cuda.synchronize()
        assert all(torch.equal(output, expected(x)) for x, output in pairs)

    def test_threads_at_once(self, engine):
        failures = []

        def work():
            with torch.cuda.stream(torch.cuda.Stream()):
                for i in range(60):
                    x = image(1 + i % 8)
                    if not torch.equal(run(engine, x), expected(x)):
                        failures.append(i)

        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures

    def test_the_caller_may_capture_it(self, engine):
        x, output = image(4), torch.zeros(4, 3, device="cuda")
        run(engine, x, output)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run(engine, x, output)
        for batch in (1, 8):
            y = image(batch)
            assert torch.equal(run(engine, y), expected(y))  # leaves the workspace of its own bucket
            x.normal_()
            graph.replay()
            assert torch.equal(output, expected(x))

    def test_outputs_on_the_host(self, engine):
        x, output = image(4), torch.zeros(8, 3)
        shapes = [(c_int64 * 2)(*x.shape), (c_int64 * 2)(*output.shape)]
        given = [AITData(t.data_ptr(), s, 2, 2) for t, s in zip((x, output), shapes, strict=True)]
        real = (c_int64 * 2)()
        torch.cuda.synchronize()
        engine.call(
            "AITemplateModelContainerRunWithOutputsOnHost",
            *[engine.handle, ctypes.byref(given[0]), c_size_t(1), ctypes.byref(given[1]), c_size_t(1)],
            *[None, c_bool(True), (POINTER(c_int64) * 1)(real)],
        )
        assert list(real) == [4, 3]
        assert torch.equal(output[:4], expected(x).cpu())

    @pytest.mark.parametrize("threads", [1, 3])
    def test_benchmark(self, engine, threads):
        x, output = image(4), torch.zeros(4, 3, device="cuda")
        shape = (c_int64 * 2)(4, 3)
        given = [AITData(t.data_ptr(), shape, 2, 2) for t in (x, output)]
        milliseconds = c_float()
        torch.cuda.synchronize()
        engine.call(
            "AITemplateModelContainerBenchmark",
            *[engine.handle, ctypes.byref(given[0]), c_size_t(1), ctypes.byref(given[1]), c_size_t(1), None],
            *[c_bool(True), c_size_t(50), c_size_t(threads), c_bool(True), ctypes.byref(milliseconds), None],
        )
        assert 0 < milliseconds.value < 100
        assert torch.equal(output, expected(x))

    def test_profile(self, engine):
        x, output = image(4), torch.zeros(4, 3, device="cuda")
        launches = engine.profile(tensors(x), tensors(output), torch.cuda.current_stream().cuda_stream, 10)
        assert [launch.node for launch in launches] == ["layer.scale", "layer.increment"]
        assert all(launch.milliseconds > 0 for launch in launches)
        assert torch.equal(output, expected(x))

    def test_constants_are_swapped_between_replays(self, engine):
        x, output = image(4), torch.zeros(4, 3, device="cuda")
        ones = torch.ones(3, dtype=torch.float16, device="cuda")
        shape = (c_int64 * 1)(3)
        given = AITData(ones.data_ptr(), shape, 1, 1)
        stream = torch.cuda.current_stream().cuda_stream
        name = c_char_p(b"layer.weight")
        arguments = [engine.handle, c_void_p(stream), name, ctypes.byref(given)]
        engine.call("AITemplateModelContainerSetDoubleBufferConstant", *arguments)
        for wanted in (expected(x), x.half().float() + 1, expected(x)):
            for _ in range(4):
                assert torch.equal(run(engine, x, output), wanted)
            engine.call("AITemplateModelContainerSwapConstants", engine.handle)

    def test_a_misaligned_output_is_refused(self, engine):
        output = torch.zeros(13, device="cuda")[1:].view(4, 3)
        with pytest.raises(Exception, match="aligned to 16 bytes"):
            run(engine, image(4), output)
