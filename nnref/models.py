"""The zoo: one function per network. Every one takes images, channels last, and returns logits.

feedback         the rule of every layer with weights: an object such as SignSymmetry()
last_feedback    the rule of the last one, if another (the authors often keep Backprop() there)
seed, dtype      of the initial weights; the rule changes neither the weights nor any other draw
"""

import copy
import math
from itertools import pairwise

import numpy as np

from nnref.backend import to_device
from nnref.errors import InputError
from nnref.feedback import Backprop
from nnref.init import stream
from nnref.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential
from nnref.layers.base import record


def mlp(sizes, feedback=Backprop(), last_feedback=None, activation=ReLU, seed=0, dtype="float32"):
    """Fully connected layers with `activation` between them: (N, ...) -> (N, sizes[-1]).

    sizes = [784, 128, 10]: 784 inputs (images are flattened), 128 hidden units, 10 classes.
    """
    if len(sizes) < 2:
        raise InputError(f"mlp: expected at least two sizes, input and output, found {sizes}")
    if isinstance(activation, Layer):
        raise InputError(f"mlp: expected activation to be a class such as ReLU, found {activation}")
    rng = stream(seed, "init")
    layers = [Flatten()]
    for n_in, n_out in pairwise(sizes[:-1]):
        layers += [Linear(n_in, n_out, rng, feedback=feedback, dtype=dtype), activation()]
    top = feedback if last_feedback is None else last_feedback
    layers += [Linear(sizes[-2], sizes[-1], rng, feedback=top, dtype=dtype)]
    return _network(layers)


def lenet(classes=10, feedback=Backprop(), last_feedback=None, seed=0, dtype="float32"):
    """LeNet-5, in today's form, for MNIST: (N, 28, 28, 1) -> (N, classes).

    Sizes as in LeCun et al. 1998 (Gradient-based learning), padding 2 in place of 32 x 32 images;
    but with ReLU, max pooling, a linear output, and a second convolution that sees all 6 maps.
    """
    rng = stream(seed, "init")
    rest = {"feedback": feedback, "dtype": dtype}
    top = feedback if last_feedback is None else last_feedback
    return _network(
        [
            Conv2d(1, 6, 5, rng, padding=2, **rest),
            ReLU(),
            MaxPool2d(2),
            Conv2d(6, 16, 5, rng, **rest),
            ReLU(),
            MaxPool2d(2),
            Flatten(),
            Linear(5 * 5 * 16, 120, rng, **rest),
            ReLU(),
            Linear(120, 84, rng, **rest),
            ReLU(),
            Linear(84, classes, rng, feedback=top, dtype=dtype),
        ]
    )


def _network(layers):
    """A whole network: its first layer with weights sends no error, since nobody would read it."""
    network = Sequential(*layers)
    network.send_no_error_below()
    return network


def summary(model, input_shape):
    """Print every layer with its output shape (samples left out) and its number of parameters.

    input_shape is that of one sample, for example (28, 28, 1).
    """
    probe, calls = copy.deepcopy(model), {}  # the model itself stays as it is
    for layer in probe.walk():
        layer.training = False
        record(layer, "forward", calls, key=layer)
    dtypes = [param.dtype for layer in probe.walk() for param in layer.params.values()]
    probe.forward(to_device(np.zeros((1, *input_shape), dtypes[0] if dtypes else float)))
    total = 0
    print(f"{'layer':<44}{'output':>16}{'parameters':>12}")
    for layer in probe.walk():
        if not layer.layers:
            count = sum(math.prod(param.shape) for param in layer.params.values())
            total += count
            shape = calls[layer][1].shape[1:]
            print(f"{layer!r:<44}{shape!s:>16}{count:>12,}")
    print(f"{'total':<60}{total:>12,}")
