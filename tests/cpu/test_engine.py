"""The engine on the CPU: answers, checks of inputs, structure, threads, saving and loading."""

import copy
import dataclasses
import gc
import json
import pickle
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from fx2ait_core.build.library import build
from fx2ait_core.emit.emit import emit
from fx2ait_core.errors import ArtifactError, EngineError, EngineInputError
from fx2ait_core.runtime.artifact import extract_sources, load, weights
from fx2ait_core.runtime.engine import Engine
from fx2ait_core.runtime.ports import overlaps
from fx2ait_core.settings import Settings
from fx2ait_core.target.cpu import CpuBackend

FACTORS = torch.tensor([2.0, 3.0, 5.0])


def expected(image):
    return image.float() * FACTORS + 1


def detect(name, arch):
    assert name == "cpu"
    return CpuBackend().detect(arch, Settings())


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Settings(cache_dir=tmp_path_factory.mktemp("cache"), threads=2, keep_sources=True)


@pytest.fixture
def make(plan_of, cpu_target, cache):
    """An engine that computes image * [2, 3, 5] + 1, with changes to its manifest."""

    def make(runtimes=1, **changes):
        backend, target = cpu_target
        tree = emit(plan_of(target), backend)
        library = build(tree, backend, target, cache)
        manifest = {**json.loads(tree["manifest.json"]), **changes}
        return Engine(library.path, manifest, cache, library.sources, runtimes)

    return make


@pytest.fixture
def engine(make):
    return make()


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_answers_by_position_and_by_name(engine, batch, dtype):
    image = torch.randn(batch, 3).to(dtype)
    for answer in (engine(image), engine(image=image)):
        assert answer.shape == (batch, 3) and answer.dtype == torch.float32 and answer.is_contiguous()
        torch.testing.assert_close(answer, expected(image))


@examples(deadline=None, max_examples=60)
@given(st.data())
def test_any_strides_without_overlap(data):
    engine = _shared["engine"]
    batch = data.draw(st.integers(1, 8))
    steps = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    start = data.draw(st.integers(0, 3))
    memory = torch.randn(3 * steps[1] + start, batch * steps[0])
    image = memory[start :: steps[1], :: steps[0]][:3]
    image = image.t() if image.shape == (3, batch) else image
    torch.testing.assert_close(engine(image), expected(image))


_shared = {}


@pytest.fixture(autouse=True)
def share(engine):
    _shared["engine"] = engine


def test_results_are_new_tensors_without_gradients(engine):
    image = torch.randn(2, 3, requires_grad=True)
    first = engine(image)
    kept = first.clone()
    second = engine(torch.randn(2, 3))
    assert not first.requires_grad
    assert first.data_ptr() != second.data_ptr()
    torch.testing.assert_close(first, kept)


BAD = [
    (lambda: torch.randn(9, 3), r'"image".*dimension 0 is 9; accepted is batch = 1\.\.8'),
    (lambda: torch.randn(0, 3), r'"image".*dimension 0 is 0'),
    (lambda: torch.randn(2, 4), r'"image" has shape \[2, 4\]: dimension 1 is 4 and must be 3'),
    (lambda: torch.randn(2, 3, 1), r'"image".*of rank 3; accepted is .*batch'),
    (lambda: torch.ones(2, 3).long(), r'"image" is int64; accepted is float32, float16 or bfloat16'),
    (lambda: torch.zeros(2, 3, dtype=torch.float64), r'"image" is float64; accepted is float32'),
    (lambda: torch.zeros(2, 3, dtype=torch.complex64), r'"image" is complex64'),
    (lambda: torch.zeros(2, 3, device="meta"), r'"image" is on meta; the engine runs on cpu.*tensor\.to'),
    (lambda: torch.randn(2, 3, dtype=torch.complex64).conj().imag, r'"image" is a negated view.*resolve_neg'),
    (lambda: torch.zeros(1, 3).expand(2, 3), r'"image".*strides \[0, 1\].*share memory.*contiguous'),
    (lambda: torch.zeros(9).as_strided((2, 3), (1, 1)), r'"image".*share memory'),
    (lambda: torch.zeros(2, 3).to_sparse(), r'"image" is sparse_coo'),
    (lambda: [[1.0, 2.0, 3.0]], r'"image" is of type list; give a torch.Tensor'),
    (lambda: None, r'"image" is of type NoneType'),
]


@pytest.mark.parametrize(("make_input", "words"), BAD)
def test_what_does_not_fit_is_refused_by_name(engine, make_input, words):
    for _ in range(2):  # nothing of a refused call is remembered
        with pytest.raises(EngineInputError, match=words):
            engine(make_input())
    torch.testing.assert_close(engine(torch.ones(2, 3)), expected(torch.ones(2, 3)))


def test_negation_is_checked_though_shapes_are_known(engine):
    numbers = torch.randn(2, 3, dtype=torch.complex64)
    torch.testing.assert_close(engine(numbers.imag), expected(numbers.imag))
    with pytest.raises(EngineInputError, match="negated view"):
        engine(numbers.conj().imag)


def test_tensors_without_memory_are_refused(engine):
    with pytest.raises(EngineInputError, match="needs tensors that hold data"):
        torch.func.vmap(lambda row: engine(row[None])[0])(torch.randn(2, 3))


def test_an_engine_says_that_it_cannot_be_copied(engine):
    for copies in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"cannot be pickled or copied.*engine\.save"):
            copies(engine)


def test_a_device_is_checked_though_shapes_are_known(engine):
    engine(torch.ones(2, 3))
    with pytest.raises(EngineInputError, match="meta"):
        engine(torch.ones(2, 3, device="meta"))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda e, x: e(), r"takes image: float32\[batch, 3\]; 0 given by position, image is missing"),
        (lambda e, x: e(x, x), r"2 given by position"),
        (lambda e, x: e(x, image=x), r"image is given twice"),
        (lambda e, x: e(picture=x), r"image is missing, there is no picture"),
    ],
)
def test_names_and_counts(engine, call, words):
    with pytest.raises(EngineInputError, match=words):
        call(engine, torch.ones(2, 3))


def test_a_failing_run_tells_the_library_s_words(engine):
    with pytest.raises(EngineError, match="minus one is refused"):
        engine(torch.full((2, 3), -1.0))
    torch.testing.assert_close(engine(torch.ones(2, 3)), expected(torch.ones(2, 3)))


def test_model_structure_is_given_back(make):
    spec = pytree.tree_structure({"scores": [0]})
    answer = make(output_structure=pytree.treespec_dumps(spec))(torch.ones(2, 3))
    torch.testing.assert_close(answer, {"scores": [expected(torch.ones(2, 3))]})
    leaf = pytree.treespec_dumps(pytree.tree_structure(0))
    assert isinstance(make(output_structure=leaf)(torch.ones(2, 3)), torch.Tensor)


@pytest.mark.parametrize("structure", [pytree.treespec_dumps(pytree.tree_structure([0, 0])), "nonsense"])
def test_a_structure_that_does_not_fit(make, structure):
    with pytest.raises(ArtifactError, match="output structure"):
        make(output_structure=structure)


def test_a_manifest_of_another_engine(make, engine):
    port = engine.manifest["inputs"][0]
    with pytest.raises(ArtifactError, match="not of one engine"):
        make(inputs=[port, port])
    with pytest.raises(ArtifactError, match="describes a port wrongly"):
        make(inputs=[{**port, "dtype": "float31"}])


@pytest.mark.parametrize("runtimes", [1, 3])
def test_many_threads_at_once(make, runtimes):
    engine = make(runtimes)
    wrong = []

    def work(seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(100):
            image = torch.randn(int(torch.randint(1, 9, (), generator=generator)), 3, generator=generator)
            if not torch.allclose(engine(image), expected(image)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_many_shapes_do_not_pile_up(engine):
    for step in range(1, 400):
        engine(torch.randn(1, 3 * step)[:, ::step])
    assert len(engine._calls.known) <= 256


def test_closed_engines(engine):
    with engine:
        engine(torch.ones(1, 3))
    image = torch.ones(1, 3)
    for call in (lambda: engine(image), lambda: engine.memory, lambda: engine.profile(image)):
        with pytest.raises(EngineError, match="closed"):
            call()
    engine.close()


def test_what_an_engine_says_of_itself(engine):
    assert engine.name == "scale and increment"
    assert [(port.name, str(port)) for port in engine.inputs] == [("image", "float32[batch, 3]")]
    assert engine.target["name"] == "cpu"
    assert engine.memory["allocated"] > 0 and engine.memory["arena"] > 0
    assert engine.plan["kernels"][0]["distribution"] == "fx2ait-test"
    assert repr(engine).startswith("<Engine scale and increment for cpu (image: float32[batch, 3])")
    assert (engine.source_directory / "manifest.json").is_file()


def test_profile_names_every_launch(engine):
    times = engine.profile(torch.ones(4, 3), iterations=3)
    assert [(t.node, t.kernel) for t in times] == [
        ("layer.scale", "scale_kernel"),
        ("layer.increment", "increment_kernel"),
    ]
    assert all(t.milliseconds >= 0 for t in times)
    with pytest.raises(EngineInputError):
        engine.profile(torch.ones(99, 3))


def test_save_and_load(engine, tmp_path):
    path = engine.save(tmp_path / "e.fx2ait")
    fresh = Settings(cache_dir=tmp_path / "cache")
    for _ in range(2):
        loaded = load(path, fresh, detect)
        image = torch.randn(5, 3)
        torch.testing.assert_close(loaded(image), expected(image))
        assert loaded.manifest == engine.manifest
    assert loaded.library_path.read_bytes() == engine.library_path.read_bytes()
    extract_sources(path, tmp_path / "sources")
    assert weights(path) == (tmp_path / "sources" / "weights.safetensors").read_bytes() != b""


def test_a_damaged_extracted_library_is_extracted_again(engine, tmp_path):
    path = engine.save(tmp_path / "e.fx2ait")
    fresh = Settings(cache_dir=tmp_path / "cache")
    first = load(path, fresh, detect).library_path
    gc.collect()
    contents = first.read_bytes()
    first.unlink()
    first.write_bytes(contents[:-1])
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert load(path, fresh, detect).library_path.read_bytes() == contents


def test_a_processor_without_the_features_is_refused(engine, tmp_path):
    path = engine.save(tmp_path / "e.fx2ait")

    def poorer(name, arch):
        return dataclasses.replace(detect(name, arch), features=frozenset())

    with pytest.raises(ArtifactError, match="lacks"):
        load(path, Settings(cache_dir=tmp_path), poorer)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms(), st.integers(1, 3))
def test_dense_and_spread_tensors_do_not_overlap(shape, random, step):
    order = list(range(len(shape)))
    random.shuffle(order)
    strides, running = [0] * len(shape), step
    for axis in order:
        strides[axis] = running
        running *= shape[axis]
    assert not overlaps(shape, strides)
    grown = max(range(len(shape)), key=lambda axis: shape[axis])
    if shape[grown] > 1:
        assert overlaps(shape, [0 if axis == grown else s for axis, s in enumerate(strides)])


def test_a_bound_call_runs_on_the_same_memory(make):
    engine = make()
    image = torch.randn(3, 3)
    call = engine.bind(image=image)
    addresses = [output.data_ptr() for output in call.outputs]
    for _ in range(3):
        image.copy_(torch.randn(3, 3))
        call()
        torch.testing.assert_close(call.outputs[0], expected(image))
    assert [output.data_ptr() for output in call.outputs] == addresses
    engine.close()
    call()  # it keeps what it needs
    image[0, 0] = -1
    with pytest.raises(EngineError, match="minus one is refused"):
        call()
    with pytest.raises(EngineInputError, match="float64"):
        make().bind(image.double())


def test_each_launch_is_timed_by_itself(engine):
    image = torch.randn(3, 3)
    bucket, times = engine.time_launches(image, sample_ms=0.05, samples=3)
    assert bucket == 1
    assert [(t.node, t.kernel) for t in times] == [
        ("layer.scale", "scale_kernel"),
        ("layer.increment", "increment_kernel"),
    ]
    assert all(0 < t.milliseconds < 100 for t in times)
    assert engine.time_launches(image[:2], sample_ms=0.05)[0] == 0
    torch.testing.assert_close(engine(image), expected(image))
    with pytest.raises(EngineError, match="samples, each longer than 0 ms"):
        engine.time_launches(image, samples=0)
    with pytest.raises(EngineError, match=r"launch 0, kernel scale_kernel.*minus one is refused"):
        engine.time_launches(torch.full((3, 3), -1.0))
    torch.testing.assert_close(engine(image), expected(image))


@pytest.mark.parametrize("byte", [0xFF, 0x00, 0x7B])
def test_answers_do_not_depend_on_what_lay_in_memory(make, byte):
    engine = make(runtimes=2)
    image = torch.randn(3, 3)
    engine(image)
    for _ in range(3):
        engine.fill_activations(byte)  # the kernels refuse a workspace that is not clean
        torch.testing.assert_close(engine(image), expected(image))
        torch.testing.assert_close(engine(image), expected(image))
