"""What every layer has in common: two methods, and dictionaries for parameters and gradients.

A layer is an object with a state, so that you can look into it after the fact: `layer.x` is what it
saw on the last forward pass, `layer.grads` what it would change.
"""

import copy

import numpy as np

from nnref.backend import to_device, xp
from nnref.errors import InputError
from nnref.feedback import Feedback


class Layer:
    """One step of a network: `forward` computes its output, `backward` passes the error on.

    params, grads    arrays by name; `backward` assigns the gradients, it does not add to them
    keeps            names of other arrays that outlive a step: running averages, say
    layers           the layers inside this one, bottom first (none in most)
    training         BatchNorm uses the statistics of the batch while this is true
    sends_error      false in the first layer with weights: nobody reads an error below it
    """

    layers = ()
    keeps = ()
    training = True
    sends_error = True

    def __init__(self):
        self.params = {}
        self.grads = {}

    def forward(self, x):
        """The output of this layer for a batch x; samples are rows, channels are last."""
        raise NotImplementedError

    def backward(self, delta):
        """Given dE/d(output), assign `grads` and return dE/d(input): the error for the layer below.

        Never writes into `delta`. Returns None where `sends_error` is false.
        """
        raise NotImplementedError

    def walk(self):
        """This layer and all layers inside it, bottom first."""
        yield self
        for layer in self.layers:
            yield from layer.walk()

    def __repr__(self):
        return f"{type(self).__name__}()"


class WeightLayer(Layer):
    """A layer with weights W (n_in, n_out), a bias b (n_out,) unless told not, and a feedback rule.

    A stack of such matrices, (P, n_in, n_out), has one bias for each: (P, n_out).

    `scale` and `law` are the authors' lambda and random law for this kind of layer (Xiao 2018);
    the rule uses them if it needs to.
    """

    def __init__(self, W, scale, law, rng, feedback, bias, dtype):
        super().__init__()
        if not isinstance(feedback, Feedback):
            raise InputError(
                f"{self}: expected feedback to be an object like SignSymmetry(), found {feedback}"
            )
        if np.dtype(dtype).kind != "f":
            raise InputError(f"{self}: expected a floating dtype, found {dtype}")
        W = to_device(W.astype(dtype))
        self.params = {"W": W}
        if bias:
            self.params["b"] = xp.zeros_like(W[..., 0, :])  # one for each column
        self.feedback = feedback.for_layer(W, scale, law, rng)
        B = copy.deepcopy(self.feedback)(W)  # of a copy, since a rule may draw numbers here
        if B.shape != W.shape or B.dtype != W.dtype:
            raise InputError(
                f"{self}: expected {type(feedback).__name__} to give a B of shape {W.shape} and "
                f"dtype {W.dtype}, found {B.shape} and {B.dtype}"
            )


def record(layer, method: str, calls: dict, key):
    """From now on `layer.method(argument)` also keeps (argument, result) as calls[key].

    It replaces the method of this one object, so use it on a copy of a network.
    """
    original = getattr(layer, method)

    def recording(argument):
        result = original(argument)
        calls[key] = argument, result
        return result

    setattr(layer, method, recording)


def check_input(layer, x, shape, dtype):
    """Raise a one-line InputError, naming the layer, unless x has this shape and dtype.

    None stands for any length (as the first entry `...` for any number of them) or any dtype. Only
    the description of x is looked at, never its numbers, so this costs nothing on a GPU.
    """
    if not isinstance(x, xp.ndarray):
        found = f"{type(x).__module__}.{type(x).__name__}"
        raise InputError(f"{layer}: expected an array of {xp.__name__}, found {found}")
    lengths = (None,) * (x.ndim - len(shape) + 1) + shape[1:] if shape[0] is ... else shape
    if len(x.shape) != len(lengths) or any(
        want not in (None, have) for want, have in zip(lengths, x.shape, strict=True)
    ):
        wanted = ", ".join({None: "any", ...: "..."}.get(n, str(n)) for n in shape)
        raise InputError(f"{layer}: expected input of shape ({wanted}), found {x.shape}")
    if dtype is not None and x.dtype != dtype:
        raise InputError(f"{layer}: expected input of dtype {dtype}, found {x.dtype}")


def check_counts(layer, smallest=1, **counts):
    """Raise InputError, naming the layer, unless all of these are whole numbers >= `smallest`."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < smallest:
            raise InputError(
                f"{type(layer).__name__}: expected {name} to be a whole number of at least "
                f"{smallest}, found {count!r}"
            )


def check_image(layer, x, channels, dtype):
    """`check_input` for a batch of images (N, H, W, channels); also that a k x k patch fits."""
    check_input(layer, x, (None, None, None, channels), dtype)
    height, width = x.shape[1] + 2 * layer.padding, x.shape[2] + 2 * layer.padding
    if min(height, width) < layer.k:
        raise InputError(
            f"{layer}: expected images of at least {layer.k} x {layer.k} pixels (padding counted), "
            f"found {height} x {width}"
        )
