"""What the fast twins for NumPy rest on: shares of work, reused memory, switches."""

import gc
import os
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest

import nnref
from nnref import layers, models, optim
from nnref.backend import xp
from nnref.errors import InputError
from nnref.feedback import SignSymmetry
from nnref.init import stream
from nnref.losses import softmax_cross_entropy

if xp is not np:
    pytest.skip("about the CPU", allow_module_level=True)
fast = pytest.importorskip("nnref.fast.cpu", reason="the folder nnref/fast is gone")
from nnref.fast import conv, memory, threads, winograd  # noqa: E402

ROOT = Path(nnref.__file__).parent.parent


def test_every_share_is_done_once_and_small_work_by_one(monkeypatch):
    monkeypatch.setattr(threads, "THREADS", 4)
    seen = []
    assert threads.share(lambda a, b, i: seen.append((a, b, i)), 10) == 4
    assert sorted(seen) == [(0, 2, 0), (2, 5, 1), (5, 7, 2), (7, 10, 3)]
    names = set()
    assert threads.share(lambda *_: names.add(threading.current_thread()), 10, smallest=6) == 1
    assert names == {threading.current_thread()}


def test_the_sum_of_shares_is_that_of_the_whole(monkeypatch, rng):
    numbers = rng.integers(0, 9, (10, 3)).astype("float32")
    for count in (1, 2, 4):
        monkeypatch.setattr(threads, "THREADS", count)
        found = threads.summed(lambda start, stop: numbers[start:stop].sum(axis=0), 10)
        assert found.tolist() == numbers.sum(axis=0).tolist()


def test_every_share_has_a_thread_of_its_own(monkeypatch):
    """They wait for one another, so one thread could not do two of them."""
    monkeypatch.setattr(threads, "THREADS", 3)
    meet = threading.Barrier(3, timeout=60)
    assert threads.share(lambda *_: meet.wait(), 3) == 3


def test_rows_are_made_wide_but_never_cut():
    assert [memory.width(2**20, C) for C in (1, 3, 16, 10_000)] == [8192, 3, 8192, 10_000]
    assert [memory.width(size, 16) for size in (16, 48, 96, 16 * 1000)] == [16, 16, 32, 128]


def test_an_error_in_a_share_is_raised_and_the_workers_live_on(monkeypatch):
    monkeypatch.setattr(threads, "THREADS", 3)

    def fail(start, stop, number):
        if number == 2:
            raise InputError("in a share")

    for _ in range(2):
        with pytest.raises(InputError, match="in a share"):
            threads.share(fail, 3)
    assert threads.share(lambda *_: None, 3) == 3


def test_whatever_share_fails_all_others_are_done_first(monkeypatch):
    monkeypatch.setattr(threads, "THREADS", 3)
    for failing in range(3):
        done = []

        def work(start, stop, number, failing=failing, done=done):
            if number == failing:
                raise MemoryError("in a share")
            time.sleep(0.05)
            done.append(number)

        with pytest.raises(MemoryError):
            threads.share(work, 3)
        assert sorted(done) == sorted({0, 1, 2} - {failing})
    done = []
    assert threads.share(lambda start, stop, number: done.append(number), 3) == 3
    assert sorted(done) == [0, 1, 2]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_in_a_share_keeps_no_array_alive(failing, monkeypatch):
    monkeypatch.setattr(threads, "THREADS", 2)
    array = np.ones(3)
    gone = weakref.ref(array)

    def fail(start, stop, number, array=array):
        if number == failing:
            raise MemoryError("in a share")

    del array
    gc.disable()
    try:
        with pytest.raises(MemoryError) as caught:
            threads.share(fail, 2)
        del fail, caught
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("where", ["in a share", "while it waits"])
def test_after_an_interrupt_no_share_returns_before_its_work_is_done(where, monkeypatch):
    monkeypatch.setattr(threads, "THREADS", 2)
    go_on, workers = threading.Event(), threads._workers
    if where == "while it waits":

        def interrupted(worker):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(threads._Worker, "wait", interrupted)
            threads.share(lambda start, stop, number: number and go_on.wait(60), 2)
        assert threads._workers is not workers  # that one is still busy
    else:

        def interrupted(start, stop, number):
            if number == 0:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            threads.share(interrupted, 2)
    for _ in range(5):
        out = np.zeros(2)

        def work(start, stop, number, out=out):
            time.sleep(0.02 * number)
            out[start:stop] = 1

        assert threads.share(work, 2) == 2
        assert out.tolist() == [1, 1]
    go_on.set()


def test_a_share_may_share_again(monkeypatch):
    monkeypatch.setattr(threads, "THREADS", 2)
    seen = []

    def outer(start, stop, _):
        threads.share(lambda a, b, i: seen.append((start, a, b)), 4)

    threads.share(outer, 2)
    assert sorted(seen) == [(0, 0, 2), (0, 2, 4), (1, 0, 2), (1, 2, 4)]


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


def step_of(model, optimizer, x, labels):
    _, delta = softmax_cross_entropy(model.forward(x), labels)
    model.backward(delta)
    optimizer.step()


def test_a_step_that_repeats_allocates_no_large_array(rng):
    """After two steps, the memory of a third comes from the shelf, but for small things."""
    if os.environ.get("NNREF_FAST") == "0":
        pytest.skip("NNREF_FAST=0 turns the twins off")
    model = models.resnet20((32, 32, 3), feedback=SignSymmetry())
    optimizer = optim.SGD(model, 0.01)
    x, labels = rng.standard_normal((32, 32, 32, 3)).astype("float32"), np.arange(32) % 10
    for _ in range(3):
        step_of(model, optimizer, x, labels)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    step_of(model, optimizer, x, labels)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 1_000_000  # bytes; the largest activation alone has 2,097,152


@pytest.fixture
def traced():
    """Calling it returns the bytes that are allocated now."""
    gc.collect()
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


def test_batches_of_many_sizes_do_not_pile_up_and_go_with_the_network(traced, monkeypatch, rng):
    monkeypatch.setattr(memory, "SPARE", 2**20)
    x = rng.standard_normal((90, 28, 28, 1)).astype("float32")
    models.lenet().forward(x)  # scratch memory, which stays
    before = traced()
    model = models.lenet()
    model.forward(x)
    largest = traced() - before
    for count in range(40, 90, 3):
        model.forward(x[:count])
    assert traced() - before < 2 * largest + 2**20
    del model
    gc.collect()
    assert traced() - before < 100_000


def test_memory_of_a_network_that_is_gone_is_given_back_while_another_goes_on(traced, monkeypatch):
    monkeypatch.setattr(memory, "SPARE", 2**20)
    small = memory.empty((2**18,), np.uint8)
    before = traced()
    large = [memory.empty((2**20 + 2**16 * i,), np.uint8) for i in range(9)]
    del large
    small = memory.empty((2**18,), np.uint8)
    assert traced() - before < 2 * 2**20
    del small


@pytest.mark.parametrize(
    ("C", "C_out", "size", "stride"), [(16, 16, 24, 1), (16, 20, 150, 1), (16, 20, 24, 2),
                                       (3, 8, 40, 1), (128, 128, 12, 1)]
)  # fmt: skip
def test_a_convolution_takes_no_more_memory_at_a_time_than_it_says(
    C, C_out, size, stride, monkeypatch, rng
):
    """The scratch memory of a thread of its own: as much as CHUNK for each purpose, about."""
    monkeypatch.setattr(threads, "THREADS", 1)
    layer = layers.Conv2d(
        C, C_out, 3, stream(0, "init"), stride=stride, padding=1, bias=False,
        feedback=SignSymmetry(),
    )  # fmt: skip
    x = rng.standard_normal((40 if size < 100 else 2, size, size, C)).astype("float32")
    largest = {}

    def passes():
        delta = fast.conv_forward(layer, x)
        fast.conv_backward(layer, delta)
        largest.update({purpose: len(held) for purpose, held in vars(memory._mine).items()})

    thread = threading.Thread(target=passes)
    thread.start()
    thread.join()
    weights = layer.params["W"].nbytes  # "gradient" is one of W, or of 16/9 of it
    image = x[0].nbytes + 4 * size * size * C_out  # "padded" is one at least
    for purpose, held in largest.items():
        assert held <= max(2 * winograd.CHUNK, 2 * weights, 2 * image), purpose
    of_patches = largest.get("patches", 0)
    assert of_patches <= conv.CHUNK


def test_the_sizes_that_are_asked_for_stay_longest(monkeypatch):
    monkeypatch.setattr(memory, "SPARE", 0)
    held = memory.empty((10 * 2**20,), np.uint8)
    addresses = set()
    for i in range(30):
        usual, other = (memory.empty((int(n * 2**20),), np.uint8) for n in (4, 5 + i / 100))
        addresses.add(usual.ctypes.data)
        shelf = memory._shelf()
        idle = sum(size * len(pieces) for size, pieces in shelf.free.items())
        assert (shelf.idle, shelf.used) == (idle, sum(len(r.memory) for r in shelf.lent.values()))
        del usual, other
    assert len(addresses) == 1
    del held


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


def test_nnref_fast_0_turns_the_twins_off():
    code = "from nnref import backend, layers; print(len(backend.twins()))"
    assert run(code, NNREF_FAST="0").stdout == "0\n"
    assert run(code, NNREF_FAST="1").stdout == f"{len(fast.TWINS)}\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_process_that_forks_while_memory_changes_hands_gives_its_child_a_shelf_of_its_own():
    code = (
        "import os; from nnref.fast import memory\n"
        "held = memory.empty((2**20,), 'uint8')\n"
        "with memory._lock:\n"  # as another thread may at this moment
        "    child = os.fork()\n"
        "if not child: memory.empty((2**20,), 'uint8'); os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert run(code).stdout == "7\n"


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
