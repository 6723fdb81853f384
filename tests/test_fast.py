"""The fast twins: equal to their references over many shapes, repeatable, thrifty, optional."""

import contextlib
import copy
import gc
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from oracles import frozen

import nnref
from nnref import backend, layers, models, optim
from nnref.errors import InputError
from nnref.feedback import Backprop, SignSymmetry
from nnref.init import stream
from nnref.losses import softmax_cross_entropy

fast = pytest.importorskip("nnref.fast.cpu", reason="the folder nnref/fast is gone")
from nnref.fast import conv, memory, threads, winograd  # noqa: E402

ROOT = Path(nnref.__file__).parent.parent
TOLERANCE = {"float32": 3e-5, "float64": 1e-12}


@pytest.fixture(autouse=True)
def even_small_arrays(monkeypatch):
    """The twins take arrays of any size, in pieces small enough that there are several."""
    for name, value in (("SMALL", 1), ("SHARE", 1), ("WORK", 1), ("PIECE", 100)):
        monkeypatch.setattr(fast, name, value)
    monkeypatch.setattr(conv, "CHUNK", 3000)
    monkeypatch.setattr(winograd, "CHUNK", 3000)
    monkeypatch.setattr(backend, "_twins", lambda: fast.TWINS)
    fast._zeros.cache_clear()
    yield
    fast._zeros.cache_clear()


@pytest.fixture
def reference():
    """Calling it turns all twins off from then on."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(backend.plainly())


def close(fast_array, slow_array, dtype):
    scale = abs(slow_array).max() + 1e-30
    assert fast_array.dtype == slow_array.dtype == dtype
    np.testing.assert_allclose(fast_array / scale, slow_array / scale, atol=TOLERANCE[dtype])


def same_as_reference(layer, x, dtype, rng, reference):
    """Output, error, gradients and running averages of a layer, with its twins and without."""
    plain = copy.deepcopy(layer)
    y = layer.forward(x)
    delta = frozen(rng.standard_normal(y.shape).astype(dtype))
    error = layer.backward(delta)
    reference()
    close(y, plain.forward(x), dtype)
    slow_error = plain.backward(delta)
    assert (error is None) == (slow_error is None)
    if error is not None:
        close(error, slow_error, dtype)
    assert layer.grads.keys() == plain.grads.keys()
    for name in layer.grads:
        close(layer.grads[name], plain.grads[name], dtype)
    for name in ("running_mean", "running_var"):
        if hasattr(layer, name):
            close(getattr(layer, name), getattr(plain, name), dtype)


def options(dtype, rule=None):
    return {"rng": stream(0, "init"), "feedback": rule or Backprop(), "dtype": dtype}


CONVS = [  # N, H, W, C_in, C_out, k, stride, padding
    (5, 8, 8, 16, 16, 3, 1, 1),
    (4, 7, 9, 16, 5, 3, 1, 1),
    (1, 6, 6, 16, 20, 3, 1, 0),
    (3, 9, 8, 20, 16, 3, 2, 1),
    (3, 6, 7, 3, 4, 3, 1, 1),
    (2, 11, 12, 3, 8, 7, 2, 3),
    (4, 12, 11, 1, 6, 5, 1, 2),
    (4, 9, 9, 6, 16, 5, 1, 0),
    (3, 8, 8, 16, 24, 1, 1, 0),
    (3, 8, 7, 16, 24, 1, 2, 0),
    (2, 5, 5, 16, 4, 3, 1, 2),
    (7, 3, 3, 17, 33, 3, 3, 0),
    (1, 1, 1, 16, 16, 1, 1, 0),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", CONVS, ids=str)
def test_convolutions(shape, dtype, bias, rng, reference):
    N, H, W, C_in, C_out, k, stride, padding = shape
    layer = layers.Conv2d(
        C_in, C_out, k, stride=stride, padding=padding, bias=bias, **options(dtype, SignSymmetry())
    )
    if bias:
        layer.params["b"][...] = rng.standard_normal(C_out)
    same_as_reference(
        layer, frozen(rng.standard_normal((N, H, W, C_in)).astype(dtype)), dtype, rng, reference
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [(4, 4), (5, 7), (1, 1), (2, 9)])
def test_convolutions_with_fewer_multiplications(size, dtype, rng, reference, monkeypatch):
    """Even and odd sizes; the kernel turned for the error."""
    monkeypatch.setattr(conv, "MANY", 1)
    layer = layers.Conv2d(6, 5, 3, padding=1, bias=False, **options(dtype, SignSymmetry()))
    assert fast._fewer_multiplications(layer)
    x = frozen(rng.standard_normal((3, *size, 6)).astype(dtype))
    same_as_reference(layer, x, dtype, rng, reference)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_many_weights_and_few_patches_are_split_by_weights(dtype, rng, reference, monkeypatch):
    monkeypatch.setattr(conv, "LARGE", 1)
    layer = layers.Conv2d(17, 6, 3, stride=2, padding=1, **options(dtype))
    same_as_reference(
        layer, frozen(rng.standard_normal((3, 7, 6, 17)).astype(dtype)), dtype, rng, reference
    )


LOCALS = [  # N, H, W, C_in, C_out, k, stride, padding
    (5, 6, 7, 3, 4, 3, 1, 1),
    (4, 8, 8, 2, 5, 5, 2, 2),
    (1, 5, 4, 1, 3, 2, 1, 0),
    (3, 3, 3, 4, 2, 3, 1, 0),
    (2, 7, 5, 3, 1, 1, 3, 1),
]


@pytest.mark.parametrize("sends_error", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", LOCALS, ids=str)
def test_locally_connected_layers(shape, dtype, sends_error, rng, reference):
    N, H, W, C_in, C_out, k, stride, padding = shape
    layer = layers.LocallyConnected2d(
        (H, W, C_in), C_out, k, stride=stride, padding=padding, bias=sends_error,
        **options(dtype, SignSymmetry()),
    )  # fmt: skip
    layer.sends_error = sends_error
    if sends_error:
        layer.params["b"][...] = rng.standard_normal(layer.params["b"].shape)
    same_as_reference(
        layer, frozen(rng.standard_normal((N, H, W, C_in)).astype(dtype)), dtype, rng, reference
    )


OTHERS = {
    "linear": (lambda dtype: layers.Linear(30, 40, **options(dtype)), (7, 30)),
    "linear-narrow": (lambda dtype: layers.Linear(50, 3, bias=False, **options(dtype)), (90, 50)),
    "relu": (lambda dtype: layers.ReLU(), (7, 5, 3, 11)),
    "batch-norm": (lambda dtype: layers.BatchNorm(6, dtype), (50, 6)),
    "batch-norm-image": (lambda dtype: layers.BatchNorm(5, dtype), (3, 7, 9, 5)),
    "max-pool": (lambda dtype: layers.MaxPool2d(2), (5, 6, 8, 3)),
    "max-pool-odd": (lambda dtype: layers.MaxPool2d(2), (5, 7, 9, 3)),
    "max-pool-overlap": (lambda dtype: layers.MaxPool2d(3, stride=2), (3, 7, 9, 4)),
    "residual": (lambda dtype: layers.Residual(layers.ReLU()), (4, 5, 6, 3)),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", OTHERS)
def test_other_layers(name, dtype, rng, reference):
    make, shape = OTHERS[name]
    layer = make(dtype)
    for param in layer.params.values():
        param += 0.3 * rng.standard_normal(param.shape).astype(dtype)
    x = frozen(rng.standard_normal(shape).astype(dtype))
    same_as_reference(layer, x, dtype, rng, reference)


def test_ties_of_a_pool_go_to_the_first(rng, reference):
    x = frozen(rng.integers(0, 2, (4, 6, 6, 3)).astype("float64"))
    same_as_reference(layers.MaxPool2d(2), x, "float64", rng, reference)


def test_a_mean_far_from_zero_leaves_the_variance_exact(rng, reference):
    x = frozen((1000 + rng.standard_normal((64, 4))).astype("float32"))
    layer = layers.BatchNorm(4)
    y = layer.forward(x)
    assert y.std(axis=0) == pytest.approx(1, abs=1e-2)
    assert layer.running_var == pytest.approx(0.9 + 0.1 * x.var(axis=0, ddof=1), rel=1e-3)


def test_batch_norm_in_evaluation(rng, reference):
    layer = layers.BatchNorm(5)
    layer.running_mean[:], layer.running_var[:] = rng.standard_normal(5), rng.random(5) + 0.5
    layer.training = False
    x = frozen(rng.standard_normal((3, 4, 4, 5)).astype("float32"))
    same_as_reference(layer, x, "float32", rng, reference)


@pytest.mark.parametrize("view", ["every-second", "transposed", "broadcast"])
def test_arrays_that_are_not_contiguous(view, rng, reference):
    """Of the input and, above GlobalAvgPool, of the delta."""
    x = rng.standard_normal((6, 8, 8, 16))
    x = {"every-second": x[::2], "transposed": x.swapaxes(1, 2), "broadcast": x[:1]}[view]
    x = np.broadcast_to(x, (3, 8, 8, 16)) if view == "broadcast" else x
    for layer in (
        layers.Conv2d(16, 16, 3, padding=1, **options("float64")),
        layers.LocallyConnected2d((8, 8, 16), 4, 3, **options("float64")),
        layers.BatchNorm(16, "float64"),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Sequential(layers.BatchNorm(16, "float64"), layers.GlobalAvgPool()),
    ):
        twin = copy.deepcopy(layer)
        y = layer.forward(x)
        delta = np.broadcast_to(rng.standard_normal(y.shape[-1]), y.shape)
        error = layer.backward(delta)
        reference_y = twin.forward(np.array(x))
        np.testing.assert_allclose(y, reference_y, atol=1e-12)
        np.testing.assert_allclose(error, twin.backward(np.array(delta)), atol=1e-12)


OPTIMIZERS = {
    "sgd": lambda model: optim.SGD(model, 0.1),
    "sgd-decay": lambda model: optim.SGD(model, 0.1, weight_decay=0.01),
    "manhattan": lambda model: optim.BatchManhattan(model, 0.01, weight_decay=0.01),
    "adam": lambda model: optim.Adam(model, 0.01),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, dtype, rng, reference):
    quick = models.mlp([23, 7], (11,), 5, dtype=dtype)
    plain = copy.deepcopy(quick)
    grads = [
        {k: rng.standard_normal(p.shape).astype(dtype) for k, p in layer.params.items()}
        for layer in quick.walk()
    ]
    for model in (quick, plain):
        optimizer = OPTIMIZERS[name](model)
        for layer, grad in zip(model.walk(), grads, strict=True):
            layer.grads = grad
        for _ in range(3):
            optimizer.step()
        reference()
    for a, b in zip(quick.walk(), plain.walk(), strict=True):
        for param in a.params:
            close(a.params[param], b.params[param], dtype)


def test_sign_symmetry_keeps_zeros(rng):
    W = rng.standard_normal((40, 30))
    W[3] = 0
    B = SignSymmetry(scale=0.25).for_layer(W, 1, None, stream(0, "init"))(W)
    np.testing.assert_array_equal(B, 0.25 * np.sign(W))


def step(model, x, labels):
    """One training step; returns all gradients."""
    loss, delta = softmax_cross_entropy(model.forward(x), labels)
    model.backward(delta)
    return [grad for layer in model.walk() for grad in layer.grads.values()]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_number_of_threads_changes_rounding_alone_and_repeats_bit_for_bit(
    count, rng, reference, monkeypatch
):
    model = models.resnet20((12, 12, 3), width=0.5)
    x = rng.standard_normal((5, 12, 12, 3)).astype("float32")
    labels = np.arange(5)
    monkeypatch.setattr(threads, "THREADS", count)
    first = [grad.copy() for grad in step(model, x, labels)]
    for a, b in zip(first, step(model, x, labels), strict=True):
        np.testing.assert_array_equal(a, b)
    reference()
    for a, b in zip(first, step(model, x, labels), strict=True):
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b) + 1e-6


def test_every_share_is_done_once_and_small_work_by_one(monkeypatch):
    monkeypatch.setattr(threads, "THREADS", 4)
    seen = []
    assert threads.share(lambda a, b, i: seen.append((a, b, i)), 10) == 4
    assert sorted(seen) == [(0, 2, 0), (2, 5, 1), (5, 7, 2), (7, 10, 3)]
    names = set()
    assert threads.share(lambda *_: names.add(threading.current_thread()), 10, smallest=6) == 1
    assert names == {threading.current_thread()}


def test_an_error_in_a_share_is_raised_and_the_workers_live_on(monkeypatch):
    monkeypatch.setattr(threads, "THREADS", 3)

    def fail(start, stop, number):
        if number == 2:
            raise InputError("in a share")

    for _ in range(2):
        with pytest.raises(InputError, match="in a share"):
            threads.share(fail, 3)
    assert threads.share(lambda *_: None, 3) == 3


def test_a_share_may_share_again(monkeypatch):
    monkeypatch.setattr(threads, "THREADS", 2)
    seen = []

    def outer(start, stop, _):
        threads.share(lambda a, b, i: seen.append((start, a, b)), 4)

    threads.share(outer, 2)
    assert sorted(seen) == [(0, 0, 2), (0, 2, 4), (1, 0, 2), (1, 2, 4)]


def test_blas_has_one_thread_inside_and_its_old_number_afterward():
    counts = [library.get_num_threads() for library in threads._blas]
    inside = []
    threads.share(
        lambda *_: inside.extend(library.get_num_threads() for library in threads._blas), 1
    )
    assert set(inside) <= {1}
    assert [library.get_num_threads() for library in threads._blas] == counts


def test_memory_is_reused_when_the_last_view_is_gone():
    first = memory.empty((300, 301), "float32")
    address, view = first.ctypes.data, first[1:, ::2]
    del first
    gc.collect()
    second = memory.empty((300, 301), "float32")
    assert second.ctypes.data != address  # a view still looks at it
    del view
    gc.collect()
    third = memory.empty((300 * 301,), "float32")
    assert third.ctypes.data == address
    assert third.flags.writeable


def test_a_step_that_repeats_allocates_no_large_array(rng, monkeypatch):
    """After two steps, the memory of a third comes from the shelf, but for small things."""
    monkeypatch.undo()  # real sizes of pieces
    if os.environ.get("NNREF_FAST") == "0":
        pytest.skip("NNREF_FAST=0 turns the twins off")
    model = models.resnet20((32, 32, 3), feedback=SignSymmetry())
    optimizer = optim.SGD(model, 0.01)
    x, labels = rng.standard_normal((32, 32, 32, 3)).astype("float32"), np.arange(32) % 10
    for _ in range(3):
        step(model, x, labels)
        optimizer.step()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    step(model, x, labels)
    optimizer.step()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 1_000_000  # bytes; the largest activation alone has 2,097,152


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


def test_nnref_fast_0_turns_the_twins_off():
    code = "from nnref import backend, layers; print(len(backend._twins()))"
    assert run(code, NNREF_FAST="0").stdout == "0\n"
    assert run(code, NNREF_FAST="1").stdout == f"{len(fast.TWINS)}\n"


def test_nnref_threads_sets_the_number_of_threads():
    code = "from nnref.fast import threads; print(threads.THREADS)"
    assert run(code, NNREF_THREADS="3").stdout == "3\n"
    assert "NNREF_THREADS: expected a whole number from 1, found '0'" in (
        run(code, NNREF_THREADS="0").stderr
    )


def test_without_its_folder_everything_still_works():
    code = (
        "import sys; sys.modules['nnref.fast.cpu'] = sys.modules['nnref.fast'] = None\n"
        "from nnref import backend, models; import numpy as np\n"
        "print(models.mlp([5]).forward(np.zeros((2, 784), 'float32')).shape)"
    )
    assert run(code).stdout == "(2, 10)\n"


def test_every_twin_has_a_method_of_its_name_that_is_marked():
    for name in fast.TWINS:
        kind, method = name.split(".")
        owner = getattr(layers, kind, None) or getattr(optim, kind, None) or SignSymmetry
        assert hasattr(getattr(owner, method), "__wrapped__"), name
