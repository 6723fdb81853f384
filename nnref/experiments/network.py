"""Rules by short names, a network, and plans to train it, for several experiments."""

from collections.abc import Callable
from dataclasses import dataclass

from nnref.backend import to_device
from nnref.experiments.plan import Part
from nnref.feedback import Feedback
from nnref.init import stream
from nnref.layers import BatchNorm, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential
from nnref.rules import known

RULES = {  # by the short names of tables and figures
    "BP": known.RULES["backprop"],
    "SS": known.RULES["sign-symmetry"],
    "frSF": known.RULES["fixed-magnitudes"],
    "brSF": known.RULES["redrawn-magnitudes"],
    "signed init": known.RULES["signed-init"],
    "FA": known.RULES["feedback-alignment"],
    "last layer only": known.RULES["last-layer-only"],
}


def rules_of(name: str) -> tuple[Feedback, Feedback | None]:
    """(rule, rule of the last layer if another) of a name such as "SS" or "SS, BP last"."""
    rule, _, last = name.partition(", ")
    return RULES[rule], RULES["BP"] if last == "BP last" else None


def born_from(init: Callable) -> Callable:
    """The `born` of a rule whose B is drawn by `init`, as the weights are by those in init.py."""

    def born(rule, W, scale, draw):
        rule.B = to_device(init(rule.rng, W.shape, *W.shape).astype(W.dtype))

    return born


@dataclass(frozen=True, kw_only=True)
class NetworkPart(Part):
    """A part of a plan that trains `network`."""

    kernels: list  # numbers of kernels of the convolutions; none: a multi-layer perceptron
    units: list  # numbers of units of the hidden layers above
    rates: list  # learning rates to choose from, for every setting by itself

    @property
    def facts(self) -> dict:
        """Data set and network, in words: 16-32-64."""
        shape = "-".join(str(count) for count in (*self.kernels, *self.units))
        return {"data": self.data, "network": shape}

    def model(self, input_shape, rules: tuple, seed: int, norm: type | None = None) -> Sequential:
        """The network under (rule, rule of the last layer); BatchNorm if it has convolutions."""
        rule, last = rules
        norm = norm or (BatchNorm if self.kernels else None)
        shape = input_shape, self.kernels, self.units
        return network(*shape, rule, seed, last_feedback=last, norm=norm)


MNIST = NetworkPart(
    data="mnist", take=15_000, kernels=[], units=[100, 100, 100], rates=[1e-3, 5e-3, 0.02, 0.1],
    search_images=13_500, search_epochs=4, epochs=4, batch_size=32, seeds=3,
)  # fmt: skip
CIFAR10 = NetworkPart(
    data="cifar10", take=6_000, kernels=[16, 32], units=[64], rates=[3e-3, 0.02, 0.1],
    search_images=4_000, search_epochs=1, epochs=4, batch_size=32, seeds=3,
)  # fmt: skip
FULL_MNIST = NetworkPart(
    data="mnist", kernels=[], units=[256, 256, 256], rates=[1e-3, 5e-3, 0.02, 0.1],
    search_images=10_000, search_epochs=2, epochs=20, batch_size=32, seeds=5,
)  # fmt: skip
FULL_CIFAR10 = NetworkPart(
    data="cifar10", kernels=[64, 128], units=[256], rates=[1e-3, 3e-3, 0.02, 0.1],
    search_images=10_000, search_epochs=2, epochs=40, batch_size=100, seeds=5,
)  # fmt: skip
DIGITS = NetworkPart(
    data="digits", take=60, kernels=[2], units=[10, 10], rates=[0.02],
    epochs=1, batch_size=20, seeds=2,
)  # fmt: skip
SMALL, FULL = [MNIST, CIFAR10], [FULL_MNIST, FULL_CIFAR10]
BOTH = ("mnist", "cifar10")  # the data sets of these parts


def network(
    input_shape, kernels: list, units: list, feedback: Feedback, seed: int, *,
    last_feedback: Feedback | None = None, norm: type | None = None,
) -> Sequential:  # fmt: skip
    """Convolutions of 5 x 5 pixels, each with a pool, the first with stride 2; then hidden layers.

    ReLU after all but the last layer, with `norm` (BatchNorm) before it in place of a bias. No
    kernels: a multi-layer perceptron. last_feedback = None: the rule of all the others.
    """
    shared = {"rng": stream(seed, "init"), "feedback": feedback}

    def then(count):
        return [norm(count), ReLU()] if norm else [ReLU()]

    layers, (H, W, C) = [], input_shape
    for i, count in enumerate(kernels):
        stride = 2 if i == 0 else 1
        layers += [Conv2d(C, count, 5, stride=stride, padding=2, bias=not norm, **shared)]
        layers += [*then(count), MaxPool2d(2)]
        H, W, C = H // (2 * stride), W // (2 * stride), count
    layers.append(Flatten())
    n = H * W * C
    for count in units:
        layers += [Linear(n, count, bias=not norm, **shared), *then(count)]
        n = count
    top = Linear(n, 10, **shared | {"feedback": last_feedback or feedback})
    model = Sequential(*layers, top)
    model.send_no_error_below()
    return model
