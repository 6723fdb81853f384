"""Print the layers of a network, and the memory that a training step takes."""

import copy
import math
import tracemalloc

import numpy as np

from nnref.backend import plainly, to_device, xp
from nnref.errors import InputError
from nnref.layers import Layer, Sequential
from nnref.measure import record


def summary(model, input_shape, batch_size: int = 32):
    """Print every layer with its output shape (samples left out) and its number of parameters.

    input_shape is that of one sample, for example (28, 28, 1). The last line is the memory of one
    step on a batch: forward, backward, parameters and gradients, without the optimizer, which takes
    one more copy of the parameters for SGD and two for Adam.
    """
    if not isinstance(model, Layer):
        raise InputError(f"summary: expected a network, found {model!r}")
    if not isinstance(input_shape, tuple | list):
        raise InputError(f"summary: expected a shape as (28, 28, 1), found {input_shape!r}")
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

    A Sequential has no row of its own; the layers inside a Residual are indented below it.
    """
    if not isinstance(layer, Sequential):
        yield indent + repr(layer), calls[layer][1].shape[1:], _parameters(layer)
        indent += "    "
    for inner in layer.layers:
        yield from _rows(inner, calls, indent)


def peak_memory(model, input_shape, batch_size: int) -> float:
    """The peak memory of a training step on a batch in bytes, without the optimizer's.

    On a GPU: the size of CuPy's memory pool after two steps on such a batch.
    On a CPU: of the code without nnref/fast (which takes less). Memory in use grows linearly with
    the batch; it is measured at every layer with batches of 2 and 4, and the result is the largest
    of the straight lines through these points. Below about a megabyte it is less exact.
    """
    params = sum(param.nbytes for layer in model.walk() for param in layer.params.values())
    if xp is not np:  # tracemalloc sees NumPy's arrays only
        return params + _pool_peak(model, input_shape, batch_size)
    small, large = (_levels(model, input_shape, n) for n in (2, 4))
    grown = (a + (b - a) / 2 * (batch_size - 2) for a, b in zip(small, large, strict=True))
    return params + max(grown)


def _pool_peak(model, input_shape, batch_size) -> int:
    """Bytes that two steps on a batch take from a memory pool of their own."""
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
            for _ in range(2):  # arrays of the first step stay until the second replaces them
                levels.clear()
                probe.backward(probe.forward(_zeros(probe, batch_size, input_shape)))
    finally:
        tracemalloc.stop()
    return levels


def _watch(layer, method, levels):
    """Make every call of `layer.method` append the peak of traced memory to `levels`."""
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
