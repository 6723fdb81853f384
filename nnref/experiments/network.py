"""A network of convolutions and hidden layers, for several experiments."""

from typing import NamedTuple

from nnref.feedback import Feedback
from nnref.init import stream
from nnref.layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential


class Part(NamedTuple):
    """One data set, and the network that is trained on it."""

    data: str
    kernels: list  # of the convolutions; none: a multi-layer perceptron
    units: list  # of the hidden layers above
    rates: list  # learning rates to choose from, for every setting by itself
    search: tuple  # training images and epochs of that choice
    epochs: int
    batch_size: int
    seeds: int
    take: tuple = ()  # how many images (sources.load); all

    @property
    def shape(self) -> str:
        """The network in words: 16-32-64."""
        return "-".join(str(count) for count in (*self.kernels, *self.units))


def network(
    input_shape, kernels: list, units: list, feedback: Feedback, seed: int, *,
    last_feedback: Feedback | None = None, norm: type | None = None,
) -> Sequential:  # fmt: skip
    """Convolutions of 5 x 5 pixels, each with a pool, the first with stride 2; then hidden layers.

    ReLU after all but the last layer; `norm` (BatchNorm) stands in front of it in place of a bias.
    No kernels: a multi-layer perceptron. last_feedback = None: the rule of all the others.
    """
    rest = {"rng": stream(seed, "init"), "feedback": feedback}

    def then(count):
        return [norm(count), ReLU()] if norm else [ReLU()]

    layers, (H, W, C) = [], input_shape
    for i, count in enumerate(kernels):
        stride = 2 if i == 0 else 1
        layers += [Conv2d(C, count, 5, stride=stride, padding=2, bias=not norm, **rest)]
        layers += [*then(count), MaxPool2d(2)]
        H, W, C = H // (2 * stride), W // (2 * stride), count
    layers.append(Flatten())
    n = H * W * C
    for count in units:
        layers += [Linear(n, count, bias=not norm, **rest), *then(count)]
        n = count
    top = Linear(n, 10, **rest | {"feedback": last_feedback or feedback})
    model = Sequential(*layers, top)
    model.send_no_error_below()
    return model
