"""What a network is made of, and how much memory a step of it takes, before you run it."""

import copy
import math
import tracemalloc

import numpy as np

from nnref.backend import plainly, to_device, xp
from nnref.errors import InputError
from nnref.layers import Sequential
from nnref.layers.base import record


def summary(model, input_shape, batch_size: int = 32):
    """Print every layer with its output shape (samples left out) and its number of parameters.

    input_shape is that of one sample, for example (28, 28, 1). The last line says what one step on
    a batch takes: forward, backward, parameters and gradients. The optimizer comes on top, with one
    more copy of the parameters for SGD and two for Adam.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"summary: expected a batch_size of at least 1, found {batch_size!r}")
    probe, calls = copy.deepcopy(model), {}  # the model itself stays as it is
    for layer in probe.walk():
        layer.training = False
        record(layer, "forward", calls, key=layer)
    probe.forward(_zeros(probe, 1, input_shape))
    rows = list(_rows(probe, calls))
    outputs = sum(math.prod(shape) for _, shape, _ in rows)
    print(f"{'layer':<56}{'output':>16}{'activations':>12}{'parameters':>13}")
    for name, shape, count in rows:
        print(f"{name:<56}{shape!s:>16}{math.prod(shape):>12,}{count:>13,}")
    print(f"{'total':<72}{outputs:>12,}{sum(count for _, _, count in rows):>13,}")
    peak = peak_memory(model, input_shape, batch_size) / 1e6
    print(f"peak memory of a training step on a batch of {batch_size}: {peak:,.1f} MB")


def _rows(layer, calls, indent=""):
    """(name, output shape, parameters) of a layer and those inside it, bottom first.

    A Sequential has no output of its own; what a Residual sums up stands indented below it.
    """
    if not isinstance(layer, Sequential):
        yield indent + repr(layer), calls[layer][1].shape[1:], _parameters(layer)
        indent += "    "
    for inner in layer.layers:
        yield from _rows(inner, calls, indent)


def peak_memory(model, input_shape, batch_size: int) -> float:
    """Bytes that a training step on a batch takes at its peak, without the optimizer's.

    On a GPU: what CuPy's memory pool holds after two steps on such a batch, run to find out.
    On a CPU as the code is written, without nnref/fast (that takes less), and measured at every
    layer with batches of 2 and of 4: what a layer holds grows linearly with the batch, so the
    largest of the straight lines through the two is the answer (for networks of some size: below
    about a megabyte, NumPy's habits show).
    """
    params = sum(param.nbytes for layer in model.walk() for param in layer.params.values())
    if xp is not np:  # tracemalloc sees NumPy's arrays, and no others
        return params + _pool_peak(model, input_shape, batch_size)
    small, large = (_levels(model, input_shape, n) for n in (2, 4))
    grown = (a + (b - a) / 2 * (batch_size - 2) for a, b in zip(small, large, strict=True))
    return params + max(grown)


def _pool_peak(model, input_shape, batch_size) -> int:
    """Bytes of a memory pool of its own that two steps on a batch fill."""
    probe, pool = copy.deepcopy(model), xp.cuda.MemoryPool()
    with xp.cuda.using_allocator(pool.malloc):
        for _ in range(2):
            probe.backward(probe.forward(_zeros(probe, batch_size, input_shape)))
        return pool.total_bytes()


def _levels(model, input_shape, batch_size) -> list[int]:
    """Bytes in use, at their peak, during each call of `forward` and `backward` of each layer."""
    probe, levels = copy.deepcopy(model), []
    for layer in probe.walk():
        if not layer.layers:
            _watch(layer, "forward", levels)
            _watch(layer, "backward", levels)
    tracemalloc.start()
    try:
        with plainly():
            for _ in range(2):  # in the second step the first one's arrays are there until replaced
                levels.clear()
                probe.backward(probe.forward(_zeros(probe, batch_size, input_shape)))
    finally:
        tracemalloc.stop()
    return levels


def _watch(layer, method, levels):
    """From now on every call of `layer.method` appends the peak of traced memory to `levels`."""
    original = getattr(layer, method)

    def watching(argument):
        tracemalloc.reset_peak()
        result = original(argument)
        levels.append(tracemalloc.get_traced_memory()[1])
        return result

    setattr(layer, method, watching)


def _zeros(model, batch_size, input_shape):
    """A batch of empty images, in the dtype of the model's parameters."""
    dtypes = [param.dtype for layer in model.walk() for param in layer.params.values()]
    return to_device(np.zeros((batch_size, *input_shape), dtypes[0] if dtypes else float))


def _parameters(layer) -> int:
    """How many parameters a layer has."""
    return sum(math.prod(param.shape) for param in layer.params.values())
