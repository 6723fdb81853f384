"""The GPU path: its CUDA source compiles, and a training step moves the batch in, nothing out."""

import shutil
import subprocess
import weakref

import numpy as np
import pytest
from oracles import assert_same

import nnref
from nnref import models
from nnref.backend import plainly, to_device, xp
from nnref.data.imageset import ImageSet, batches
from nnref.errors import InputError
from nnref.feedback import Backprop, FeedbackAlignment, SignSymmetry
from nnref.init import stream
from nnref.layers import BatchNorm, Conv2d
from nnref.optim import SGD, Adam, BatchManhattan
from nnref.tools.summary import peak_memory
from nnref.train import fit, train_step

on_gpu = pytest.mark.skipif(xp is np, reason="NumPy computes; see README on NNREF_STAND_IN")


@pytest.fixture
def copies():
    """Counts what crosses between host and device; only the stand-in can."""
    standin = pytest.importorskip("standin")
    if xp.__version__ != "stand-in":
        pytest.skip("only the stand-in counts copies: NNREF_STAND_IN=1")
    standin.copies.update({"in": 0, "out": 0})
    return standin.copies


@pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is not installed")
@pytest.mark.parametrize(("real", "word"), [("float", "float4"), ("double", "char")])
def test_nvcc_compiles_the_kernels(real, word, tmp_path):
    source = next(iter(nnref.__path__)) + "/fast/kernels.cu"
    options = ["-std=c++14", f"-DREAL={real}", f"-DWORD={word}", "-Werror", "all-warnings"]
    command = ["nvcc", *options, "-ptx", "-o", tmp_path / "kernels.ptx", source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("optimizer", [SGD, BatchManhattan, Adam])
@pytest.mark.parametrize("rule", [SignSymmetry(), FeedbackAlignment()])
def test_a_training_step_moves_the_batch_in_and_nothing_out(rule, optimizer, copies, rng):
    """In: the labels, and the addresses of the parameters, two small tables. Out: nothing."""
    model = models.resnet20((12, 12, 3), width=0.25, feedback=rule)
    optimizer, labels = optimizer(model, 0.01), rng.integers(0, 10, 8)
    x = to_device(rng.random((8, 12, 12, 3), "float32"))
    train_step(model, optimizer, x, labels)
    copies.update({"in": 0, "out": 0})
    train_step(model, optimizer, x, labels)
    assert copies == {"in": 3, "out": 0}


def test_training_reads_the_loss_once_an_epoch(copies, rng):
    """Per step: images, labels and two tables in. Per epoch: one number out."""
    images = rng.random((24, 28, 28, 1)).astype("float32")
    data = ImageSet(images, rng.integers(0, 10, 24))
    model = models.mlp([9])
    optimizer = SGD(model, 0.1)
    before = dict(copies)
    fit(model, optimizer, data, epochs=2, batch_size=8)
    assert copies["out"] - before["out"] == 2
    first_look = 2  # at an image, while the next one already crosses
    assert copies["in"] - before["in"] == first_look + 2 * 3 * 4


@on_gpu
@pytest.mark.parametrize("count", [1, 2, 5])
def test_batches_that_cross_ahead_arrive_whole_and_in_order(count, rng):
    images, labels = rng.random((8 * count, 3, 3, 1)), np.arange(8 * count)
    seen = 0
    for x, those in batches(ImageSet(images, labels), 8):
        assert isinstance(x, xp.ndarray)
        assert_same(x, images[those])
        seen += len(those)
    assert seen == 8 * count


@pytest.mark.skipif(
    getattr(xp, "__version__", "") == "stand-in" or xp is np, reason="no GPU to measure on"
)
def test_the_memory_of_a_step_is_what_summary_foresaw(rng):
    model = models.resnet20()
    optimizer = SGD(model, 0.1)
    x = to_device(rng.random((64, 32, 32, 3), "float32"))
    foreseen = peak_memory(model, (32, 32, 3), 64)
    pool = xp.cuda.MemoryPool()
    with xp.cuda.using_allocator(pool.malloc):
        for _ in range(3):
            train_step(model, optimizer, x.copy(), np.arange(64) % 10)
        assert foreseen == pytest.approx(pool.total_bytes(), rel=0.2)


@on_gpu
def test_large_arrays_are_left_to_the_reference(rng, monkeypatch):
    from nnref.fast import gpu

    model = models.lenet()
    x, labels = to_device(rng.random((4, 28, 28, 1), "float32")), np.arange(4)
    model.backward(model.forward(x))
    exact = [grad.copy() for layer in model.walk() for grad in layer.grads.values()]
    monkeypatch.setattr(gpu, "LARGEST", 10)
    model.backward(model.forward(x))
    found = [grad for layer in model.walk() for grad in layer.grads.values()]
    for a, b in zip(found, exact, strict=True):
        assert float(abs(a - b).max()) <= 1e-4 * float(abs(b).max())
    train_step(model, SGD(model, 0.1), x, labels)


@on_gpu
def test_patches_are_gone_before_the_next_ones_are_made(rng, monkeypatch):
    from nnref.fast import gpu

    layer = Conv2d(3, 4, 3, stream(0, "init"))
    layer.x = to_device(rng.random((4, 8, 8, 3), "float32"))
    made, im2col = [], gpu._im2col

    def noted(*given):
        assert all(gone() is None for gone in made)  # of the images before
        patches = im2col(*given)
        made.append(weakref.ref(patches))
        return patches

    monkeypatch.setattr(gpu, "PATCHES", 1)  # one image at a time
    monkeypatch.setattr(gpu, "_im2col", noted)
    layer.backward(layer.forward(layer.x))
    assert len(made) == 8
    layer.sends_error = False
    layer.backward(layer.forward(layer.x))
    assert len(made) == 16


def first_of_a_stopped_reader():
    """A batch of ones, (1, 1024, 1024, 4), from a busy GPU; the next one was still crossing."""
    images = np.ones((4, 1024, 1024, 4), "float32")
    busy = to_device(images[:1])
    for _ in range(20):  # the copies wait for these, so that they are late
        busy = busy * 1.0001
    reader = batches(ImageSet(images, np.zeros(4, int)), 1)
    x, _ = next(reader)
    reader.close()
    return x


@on_gpu
def test_a_reader_that_stops_early_leaves_no_copy_that_writes_into_memory_of_others():
    """The memory of the batch that was still crossing goes to the next array of its size."""
    for _ in range(5):
        first_of_a_stopped_reader()
        arrays = [xp.zeros((1, 1024, 1024, 4), "float32") for _ in range(4)]
        assert all(float(abs(array).max()) == 0 for array in arrays)


@on_gpu
def test_a_batch_stays_whole_though_its_reader_has_stopped_and_its_host_memory_is_used_again():
    """CuPy hands pinned memory to the next array of its size, labels of small batches included."""
    import cupyx

    for _ in range(5):
        x = first_of_a_stopped_reader()
        others = [cupyx.empty_like_pinned(np.ones(x.shape, "float32")) for _ in range(4)]
        for other in others:
            other[...] = 0
        assert float(x.min()) == 1


@on_gpu
def test_arrays_of_two_types_are_left_to_the_reference(rng):
    """A kernel reads all of its arrays as numbers of one type."""
    layer = BatchNorm(4)
    layer.params = {name: array.astype("float64") for name, array in layer.params.items()}
    layer.training, layer.running_mean = False, xp.full(4, 0.3, "float32")
    x = to_device(rng.normal(size=(6, 4)))
    found = layer.forward(x)
    with plainly():
        assert float(abs(found - layer.forward(x)).max()) < 1e-12


class Widens(Backprop):
    wide = False

    def __call__(self, W):
        return W.astype("float64") if self.wide else W


@on_gpu
@pytest.mark.parametrize("k", [1, 3])
def test_a_b_that_changes_its_type_is_one_line(k, rng):
    layer = Conv2d(3, 4, k, stream(0, "init"), feedback=Widens())
    layer.feedback.wide = True
    outputs = layer.forward(to_device(rng.random((2, 8, 8, 3), "float32")))
    with pytest.raises(InputError, match="expected a B of dtype float32, found float64"):
        layer.backward(outputs)
