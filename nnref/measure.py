"""What to look at while a network learns: angles, norms, signs, and what BP would have done.

The weight angle says how far B is from W; the delta angle says how far the error signal that a
layer learned from is from the one that backpropagation would have sent. Angles are in degrees,
from 0 (same direction) over 90 (no relation) to 180 (opposite). Nothing here changes the model.
"""

import copy
import math

from nnref.backend import xp
from nnref.feedback import Backprop
from nnref.layers.base import WeightLayer, record
from nnref.losses import softmax_cross_entropy


def angle(a, b) -> float:
    """The angle between two arrays of one shape, each taken as one long vector, in degrees.

    NaN if one of them has no direction: zero everywhere, or a number that is not finite.
    """
    a, b = a.ravel().astype("float64"), b.ravel().astype("float64")
    lengths = math.sqrt(float(a @ a) * float(b @ b))
    if not 0 < lengths < math.inf:
        return math.nan
    return math.degrees(math.acos(max(-1.0, min(1.0, float(a @ b) / lengths))))


def norm_ratio(W, B) -> float:
    """rms(B) / rms(W): is the feedback as strong as the forward path?"""
    return math.sqrt(float((B.astype("float64") ** 2).sum() / (W.astype("float64") ** 2).sum()))


def sign_concordance(W, B) -> float:
    """The share of synapses, 0 to 1, whose feedback has the sign of its forward weight."""
    return float((xp.sign(W) == xp.sign(B)).mean())


def kurtosis(W) -> float:
    """E (w - mean)^4 / var^2 of the weights: 1.8 uniform, 3 Gaussian, 6 Laplace."""
    centered = W.astype("float64") - W.astype("float64").mean()
    return float((centered**4).mean() / (centered**2).mean() ** 2)


def predicted_sign_angle(W) -> float:
    """The angle between W and sign(W) in degrees, from the histogram of the weights alone.

    cos = E|w| / sqrt(E w^2 P(w != 0)): 30.0 for uniform weights, 37.1 for Gaussian, 45.0 for
    Laplace. NaN if all weights are zero, or one is not finite.
    """
    W = W.astype("float64")
    length = math.sqrt(float((W**2).mean()) * float((W != 0).mean()))
    if not 0 < length < math.inf:
        return math.nan
    return math.degrees(math.acos(min(1.0, float(abs(W).mean()) / length)))


def weight_layers(model) -> list:
    """The layers that have a W and a B, bottom first."""
    return [layer for layer in model.walk() if isinstance(layer, WeightLayer)]


def weight_angles(model) -> list[float]:
    """For every layer with weights, bottom first: the angle between its W and its B now.

    The first is listed too, although its B is never used.
    """
    probe = copy.deepcopy(model)  # asking a rule for its B may draw random numbers
    layers = weight_layers(probe)
    return [angle(layer.params["W"], layer.feedback(layer.params["W"])) for layer in layers]


def by_layer(model, x, labels, loss=softmax_cross_entropy) -> dict[str, list]:
    """What there is to see of every layer with weights, bottom first; None where undefined.

    Angles in degrees: of W and B, of the delta on this batch and BP's; and rms(B) / rms(W).
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
    """Which layer first gives numbers that are not finite for this batch, or else the largest.

    With the root mean squares of what goes in, of its weights and of what comes out.
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
    """The delta that reaches each layer with weights, bottom first, in one pass over a batch."""
    probe = copy.deepcopy(model)
    layers, calls = weight_layers(probe), {}
    for layer in layers:
        record(layer, "backward", calls, key=layer)
    _, delta = loss(probe.forward(x), labels)
    probe.backward(delta)
    return [calls[layer][0] for layer in layers]


def delta_angles(model, x, labels, loss=softmax_cross_entropy) -> list[float]:
    """For every layer with weights, bottom first: the angle between its delta and BP's.

    Both come from the same forward pass; BP's backward pass has B = W everywhere. The batch counts
    as one vector, so a sample weighs as much as its error. The last angle is 0, always.
    """
    twin = copy.deepcopy(model)
    for layer in weight_layers(twin):
        layer.feedback = Backprop()
    used, exact = deltas(model, x, labels, loss), deltas(twin, x, labels, loss)
    return [angle(a, b) for a, b in zip(used, exact, strict=True)]
