"""Measurements of a network while it learns: angles, sizes, signs, and backpropagation's deltas.

The weight angle is the angle between W and B; the delta angle is the angle between the delta that a
layer learns from and the delta of backpropagation. Angles are in degrees, from 0
(same direction) over 90 (unrelated) to 180 (opposite). Nothing here changes the model.
"""

import copy
import math

from nnref.backend import xp
from nnref.errors import InputError
from nnref.feedback import Backprop
from nnref.layers import BatchNorm
from nnref.layers.base import Layer, WeightLayer, check_network
from nnref.layers.checks import check_array
from nnref.losses import softmax_cross_entropy


def angle(a, b) -> float:
    """The angle in degrees between two arrays of the same shape, each taken as a long vector.

    NaN if one of them is zero everywhere, or has an entry that is not finite.
    """
    _check_pair("angle", a, b)
    a, b = a.ravel().astype("float64"), b.ravel().astype("float64")
    lengths = math.sqrt(float(a @ a) * float(b @ b))
    if not 0 < lengths < math.inf:
        return math.nan
    return math.degrees(math.acos(max(-1.0, min(1.0, float(a @ b) / lengths))))


def norm_ratio(W, B) -> float:
    """rms(B) / rms(W): the strength of the feedback relative to the forward path; NaN if W is 0."""
    _check_pair("norm_ratio", W, B)
    size = _rms(W)
    return _rms(B) / size if size else math.nan


def sign_concordance(W, B) -> float:
    """The share of synapses, 0 to 1, whose feedback has the sign of its forward weight."""
    _check_pair("sign_concordance", W, B)
    return float((xp.sign(W) == xp.sign(B)).mean())


def _check_pair(owner, a, b):
    """Raise InputError unless these are two arrays of the same shape."""
    check_array(owner, a, b)
    if a.shape != b.shape:
        raise InputError(f"{owner}: expected arrays of one shape, found {a.shape} and {b.shape}")


def kurtosis(W) -> float:
    """E (w - mean)^4 / var^2 of weights: 1.8 uniform, 3 Gaussian, 6 Laplace; NaN if constant."""
    check_array("kurtosis", W)
    centered = W.astype("float64") - W.astype("float64").mean()
    std = _rms(centered)
    return float(((centered / std) ** 4).mean()) if std else math.nan


def predicted_sign_angle(W) -> float:
    """The angle between W and sign(W) in degrees, from the histogram of the weights alone.

    cos = E|w| / sqrt(E w^2 P(w != 0)): 30.0 for uniform weights, 37.1 for Gaussian, 45.0 for
    Laplace. NaN if all weights are zero, or one is not finite.
    """
    check_array("predicted_sign_angle", W)
    W = W.astype("float64")
    length = math.sqrt(float((W**2).mean()) * float((W != 0).mean()))
    if not 0 < length < math.inf:
        return math.nan
    return math.degrees(math.acos(min(1.0, float(abs(W).mean()) / length)))


def weight_layers(model) -> list:
    """The layers that have a W and a B, bottom first."""
    check_network("weight_layers", model)
    return [layer for layer in model.walk() if isinstance(layer, WeightLayer)]


def weight_angles(model) -> list[float]:
    """For every layer with weights, bottom first: the angle between its W and its B now.

    The first is listed too, although its B is never used.
    """
    probe = copy.deepcopy(model)  # asking a rule for its B may draw random numbers
    layers = weight_layers(probe)
    return [angle(layer.params["W"], layer.feedback(layer.params["W"])) for layer in layers]


def layer_measures(model, x, labels, loss=softmax_cross_entropy) -> dict[str, list]:
    """Angles and sizes of every layer with weights, bottom first; None where undefined.

    The angle between W and B and the angle between the delta on this batch and backpropagation's,
    both in degrees, and rms(B) / rms(W).
    """
    probe = copy.deepcopy(model)  # asking a rule for its B may draw random numbers
    layers = weight_layers(probe)
    pairs = [(layer.params["W"], layer.feedback(layer.params["W"])) for layer in layers]
    found = {
        "weight_angle_deg": [angle(W, B) for W, B in pairs],
        "delta_angle_deg": delta_angles(model, x, labels, loss),
        "norm_ratio": [norm_ratio(W, B) for W, B in pairs],
    }
    return {
        name: [v if math.isfinite(v) else None for v in values] for name, values in found.items()
    }


def trouble(model, x) -> str:
    """Name the lowest layer whose output is not finite for this batch.

    If all are finite, it is the layer whose output has the largest root mean square (rms).

    Adds the rms of its input, its weights and its output.
    """
    probe, calls = copy.deepcopy(model), {}
    layers = [layer for layer in probe.walk() if not layer.layers]
    for layer in layers:
        record(layer, "forward", calls, key=layer)
    probe.forward(x)
    sizes = [_rms(calls[layer][1]) for layer in layers]
    broken = next((i for i, size in enumerate(sizes) if not math.isfinite(size)), None)
    at = sizes.index(max(sizes)) if broken is None else broken
    layer = layers[at]
    weights = f", weights {_rms(layer.params['W']):.1e}" if "W" in layer.params else ""
    what = "is the first to overflow" if broken is not None else "has the largest numbers"
    return (
        f"{layer} (layer {at + 1} of {len(layers)}) {what} "
        f"(rms: in {_rms(calls[layer][0]):.1e}{weights}, out {sizes[at]:.1e})"
    )


def _rms(a) -> float:
    """The root mean square."""
    return math.sqrt(float((a.astype("float64") ** 2).mean()))


def deltas(model, x, labels, loss=softmax_cross_entropy) -> list:
    """The delta that each layer with weights receives, bottom first, in a pass over a batch.

    Raises InputError if the network's own `backward` does not call that of one of its layers.
    """
    return _deltas(copy.deepcopy(model), x, labels, loss)


def delta_angles(model, x, labels, loss=softmax_cross_entropy) -> list[float]:
    """For every layer with weights, bottom first: the angle of its delta and backpropagation's.

    Both come from the same weights and the same batch, whose deltas form one long vector, so large
    errors count more. Backpropagation's come from `backprop_twin`, even if the network's own
    `backward` uses no rule. Raises InputError if no such twin is known.
    """
    used, exact = deltas(model, x, labels, loss), _deltas(backprop_twin(model, x), x, labels, loss)
    return [angle(a, b) for a, b in zip(used, exact, strict=True)]


def backprop_twin(model, x):
    """A copy of the network whose backward pass is backpropagation: B = W, stock `backward`s.

    A class derived from a layer of nnref.layers is replaced by that layer, since its own `backward`
    may send errors another way. Raises InputError for any other class, unless it promises an
    `exact_backward`, and for a network that the stock layers do not reproduce on the batch x.
    """
    twin = copy.deepcopy(model)
    expected = twin.forward(x)  # first: a forward pass may write weights, as Interneurons do
    for layer in twin.walk():
        stock = next(c for c in type(layer).__mro__ if c.__module__.startswith("nnref.layers."))
        if stock not in (Layer, WeightLayer):
            layer.__class__ = stock
        elif not layer.exact_backward:
            raise InputError(
                f"delta_angles: expected the layers of nnref.layers, found {layer}: if its "
                "backward is the exact derivative where B = W, set its exact_backward = True"
            )
        make_exact(layer)
    difference = abs(twin.forward(x) - expected).max()
    if float(difference) > 1e-4 * float(abs(expected).max()):
        raise InputError(
            f"delta_angles: expected {type(model).__name__} to compute what its layers, as in "
            "nnref.layers, compute in a row, found another output; its exact gradient is not known"
        )
    return twin


def make_exact(layer):
    """Let a layer of nnref.layers send derivatives below: B = W, and BatchNorm's gain with them."""
    if isinstance(layer, WeightLayer):
        layer.feedback, layer.sends_error = Backprop(), True
    if isinstance(layer, BatchNorm):
        layer.sends_gain = True


def _deltas(probe, x, labels, loss) -> list:
    """`deltas` of a network that may be changed."""
    layers, calls = weight_layers(probe), {}
    for layer in layers:
        record(layer, "backward", calls, key=layer)
    _, delta = loss(probe.forward(x), labels)
    probe.backward(delta)
    for layer in layers:
        if layer not in calls:
            raise InputError(f"deltas: expected a delta for every layer, found none for {layer}")
    return [calls[layer][0] for layer in layers]


def record(layer, method: str, calls: dict, key):
    """From now on keep (argument, result) of the last call of `layer.method` as calls[key].

    This replaces the method of this object, so use it on a copy of a network.
    """
    original = getattr(layer, method)

    def recording(argument):
        result = original(argument)
        calls[key] = argument, result
        return result

    setattr(layer, method, recording)
