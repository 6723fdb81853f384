"""Check gradients: `check(model, x, labels)`; for stock networks `python -m nnref gradcheck MODEL`.

A gradient is right if its inner product with a direction is the slope of the loss along it. One
random direction is enough, since a wrong derivative shows there except by an improbable accident.
"""

import copy

import numpy as np

from nnref.backend import to_device, xp
from nnref.errors import InputError, one_line
from nnref.init import stream
from nnref.layers.base import check_network
from nnref.layers.checks import check_array
from nnref.losses import softmax_cross_entropy
from nnref.measure import make_exact

STEP = 1e-7  # along the direction; at 1e-6 alexnet crosses kinks of ReLU
LIMIT = 1e-4  # relative error; a ReLU that changes sides within the step costs some accuracy
FLOOR = 1e-4  # smaller slopes count as this large: rounding alone makes them differ by 1e-9
JITTER = 0.01  # noise on the input, times its rms: equal pixels are ties for max-pooling
SHAPES = {"mlp": (28, 28, 1), "lenet": (28, 28, 1), "alexnet": (64, 64, 3)}  # others: 32 x 32


def run(name: str, make) -> int:
    """Check the network that `make` builds on noise, print the table; return 0 if it is right."""
    shape = SHAPES.get(name, (32, 32, 3))
    model = make(input_shape=shape, classes=10, width=0.25, dtype="float64")
    x = to_device(stream(0, "noise").standard_normal((4, *shape)))
    print(f"{name}, a quarter as wide, batch of 4")
    try:
        check(model, x, np.arange(4))
    except AssertionError as wrong:
        print(wrong)
        return 1
    return 0


def check(model, x, labels, loss=softmax_cross_entropy, show=print) -> float:
    """Hold the gradients of all parameters and the error of the input against slopes of the loss.

    Prints a table (hands its lines to `show`) and returns the largest relative error. x (N, ...)
    and labels (N,) are a batch as in training; a few samples do. The check runs in float64, on a
    copy in which every B is W, since under another rule errors are no derivatives. `loss` is a
    function as in losses.py.

    Raises AssertionError, in one line that names the layer, where `backward` is wrong; of several
    such layers, the uppermost. Raises InputError for what is no network or no batch, and for a
    network that draws random numbers in `forward`.
    """
    probe = Probe(model, x, labels, loss)
    show("float64, B = W everywhere: the slope of the loss along a random direction")
    show(f"{'parameters of':<56}{'by difference':>16}{'by backward':>16}{'error':>10}")
    worst = 0.0
    for name, arrays, grads in probe.parts():
        numeric, exact, error = probe.slopes(arrays, grads)
        worst = max(worst, error)
        show(f"{name:<56}{numeric:>16.9f}{exact:>16.9f}{error:>10.0e}")
    show(f"largest relative error {worst:.0e}, allowed {LIMIT:.0e}")
    if worst > LIMIT:
        raise AssertionError(one_line(probe.culprit()))
    return worst


class Probe:
    """A float64 copy of a network after one pass over a batch, whose arrays can be moved."""

    def __init__(self, model, x, labels, loss):
        check_network("gradcheck", model)
        check_array("gradcheck", x)
        self.rng = stream(0, "gradcheck")
        self.model, self.labels, self.loss = in_float64(model), labels, loss
        noise = to_device(self.rng.standard_normal(x.shape))
        rms = float((x.astype("float64") ** 2).mean()) ** 0.5 or 1.0
        self.x = x.astype("float64") + JITTER * rms * noise
        self.inputs, self.errors = {}, {}  # by layer; the errors in the order of their coming
        for layer in self.model.walk():
            check_array(layer, *layer.params.values())
            self.watch(layer)
        self.value, delta = loss(self.model.forward(self.x), labels)
        self.model.backward(delta)
        self.inputs, self.errors = dict(self.inputs), dict(self.errors)
        self.grads = {layer: gradients(layer) for layer in self.model.walk()}
        if (again := self.loss_now()) != float(self.value):
            found = f"{float(self.value):.6g} and {again:.6g}"
            raise InputError(f"gradcheck: expected one batch to give one loss, found {found}")

    def watch(self, layer):
        """Note the layer's input, and what its `backward` returns; refuse what is no error."""
        forward, backward, inputs, errors = layer.forward, layer.backward, self.inputs, self.errors

        def watched_forward(x):
            inputs[layer] = x
            return forward(x)

        def watched_backward(delta):
            given = delta.copy()
            errors[layer] = error = backward(delta)
            if not xp.array_equal(given, delta, equal_nan=True):
                raise AssertionError(f"{layer}: expected backward to leave delta as it was")
            refuse_other_shapes(f"{layer}: expected backward to return", error, inputs[layer])
            return error

        layer.forward, layer.backward = watched_forward, watched_backward

    def loss_now(self) -> float:
        """The loss of the batch with all arrays as they are."""
        return float(self.loss(self.model.forward(self.x), self.labels)[0])

    def parts(self):
        """(name, arrays, their gradients): each layer with parameters, bottom first; the input."""
        for layer in self.model.walk():
            if layer.params:
                yield repr(layer), layer.params, self.grads[layer]
        yield "(the input)", {"x": self.x}, {"x": self.errors[self.model]}

    def slopes(self, arrays, grads) -> tuple[float, float, float]:
        """The slope along a random direction in all of these arrays: found both ways, error."""
        starts = {name: array.copy() for name, array in arrays.items()}
        directions = {name: self.direction(grads[name]) for name in arrays}
        length = sum(float((d**2).sum()) for d in directions.values()) ** 0.5
        losses = []
        for step in (STEP, -STEP):
            for name, array in arrays.items():
                array[...] = starts[name] + step * directions[name] / length
            losses.append(self.loss_now())
        for name, array in arrays.items():
            array[...] = starts[name]
        numeric = (losses[0] - losses[1]) / (2 * STEP)
        exact = sum(float((grads[name] * d).sum()) for name, d in directions.items()) / length
        smallest = FLOOR * max(1.0, abs(float(self.value)))
        error = abs(numeric - exact) / max(abs(numeric), abs(exact), smallest)
        return numeric, exact, error if np.isfinite(error) else np.inf

    def direction(self, grad):
        """Partly along grad, so that the slope is not 0; nowhere 0, so that a wrong 0 is found."""
        noise, grad = to_device(self.rng.standard_normal(grad.shape)), xp.nan_to_num(grad)
        return noise * abs(grad) + grad + 0.1 * (float(abs(grad).mean()) or 1.0) * noise

    def culprit(self) -> str:
        """Say where the errors on their way down are first wrong."""
        for layer, error in self.errors.items():
            for name, array in layer.params.items():
                found = self.slopes({name: array}, {name: self.grads[layer][name]})
                if found[-1] > LIMIT:
                    return told(layer, f"grads[{name!r}]", found)
            found = self.slopes_of_input(layer, error)
            if found[-1] > LIMIT:
                return told(layer, "the error that backward returns", found)
        return f"{self.model}: gradients are wrong, but in no single layer by more than allowed"

    def slopes_of_input(self, layer, error):
        """`slopes` along a direction in what enters this layer, wherever it is in the network."""
        forward, shift = layer.forward, xp.zeros_like(error)
        layer.forward = lambda x: forward(x + shift)
        found = self.slopes({"input": shift}, {"input": error})
        layer.forward = forward
        return found


def in_float64(model):
    """A copy of the network, in float64, whose layers send exact derivatives."""
    arrays = [array for layer in model.walk() for array in layer.params.values()]
    arrays += [getattr(layer, name) for layer in model.walk() for name in layer.keeps]
    copied = copy.deepcopy(model, {id(array): array.astype("float64") for array in arrays})
    for layer in copied.walk():
        make_exact(layer)
    return copied


def gradients(layer) -> dict:
    """The gradients of all parameters. Raises AssertionError for one that is not there."""
    found = {name: dict(layer.grads).get(name) for name in layer.params}
    for name, grad in found.items():
        wanted = f"{layer}: expected backward to set grads[{name!r}]"
        refuse_other_shapes(wanted, grad, layer.params[name])
    return found


def refuse_other_shapes(expected: str, found, like):
    """Raise AssertionError unless `found` is an array of the shape of `like`."""
    if not isinstance(found, xp.ndarray) or found.shape != like.shape:
        shape = found.shape if isinstance(found, xp.ndarray) else type(found).__name__
        raise AssertionError(one_line(f"{expected}, of shape {like.shape}, found {shape}"))


def told(layer, what: str, found) -> str:
    """One line about a wrong derivative."""
    numeric, exact, _ = found
    return (
        f"{layer}: {what} is wrong: along a direction the loss has the slope {numeric:.6g}, "
        f"but {exact:.6g} by backward"
    )
