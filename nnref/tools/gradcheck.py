"""`python -m nnref gradcheck MODEL`: check gradients against finite differences of the loss.

In float64, on noise: for every layer with parameters, the slope of the loss along one random
direction in its parameters must be the inner product of that direction and the gradient.
"""

import math

import numpy as np

from nnref.backend import to_device
from nnref.init import stream
from nnref.losses import softmax_cross_entropy

STEP = 1e-7  # along the direction; at 1e-6 alexnet crosses kinks of ReLU
LIMIT = 1e-4  # relative error; a ReLU that changes sides within the step costs some accuracy
SHAPES = {"mlp": (28, 28, 1), "lenet": (28, 28, 1), "alexnet": (64, 64, 3)}  # others: 32 x 32


def run(name: str, make) -> int:
    """Check the network that `make` builds, print a line for each layer; return 0 if right."""
    shape, rng = SHAPES.get(name, (32, 32, 3)), stream(0, "gradcheck")
    model = make(input_shape=shape, classes=10, width=0.25, dtype="float64")
    x, labels = to_device(rng.standard_normal((4, *shape))), np.arange(4)
    _, delta = softmax_cross_entropy(model.forward(x), labels)
    model.backward(delta)
    grads = {layer: dict(layer.grads) for layer in model.walk()}
    worst = 0.0
    print(f"{name}, a quarter as wide, float64, batch of 4: slope of the loss along a direction")
    print(f"{'layer':<56}{'by difference':>16}{'by backward':>16}{'error':>10}")
    for layer in model.walk():
        if layer.params:
            numeric, exact = slopes(model, layer, grads[layer], x, labels, rng)
            error = abs(numeric - exact) / max(abs(numeric), abs(exact), 1e-8)
            worst = max(worst, error) if math.isfinite(error) else math.inf
            print(f"{layer!r:<56}{numeric:>16.9f}{exact:>16.9f}{error:>10.0e}")
    print(f"largest relative error {worst:.0e}, allowed {LIMIT:.0e}")
    return 0 if worst <= LIMIT else 1


def slopes(model, layer, grads, x, labels, rng) -> tuple[float, float]:
    """The slope of the loss along a random direction in a layer's parameters, found both ways."""
    directions = {}
    for name, param in layer.params.items():
        noise, grad = to_device(rng.standard_normal(param.shape)), grads[name]
        # partly along grad, so that the slope is not 0; nowhere 0, so that a wrong 0 is found
        directions[name] = noise * abs(grad) + grad + 0.1 * (float(abs(grad).mean()) or 1.0) * noise
    length = sum(float((d**2).sum()) for d in directions.values()) ** 0.5 or 1.0
    losses = []
    for sign in (1, -1):
        for name, direction in directions.items():
            layer.params[name] += sign * STEP * direction / length
        losses.append(float(softmax_cross_entropy(model.forward(x), labels)[0]))
        for name, direction in directions.items():
            layer.params[name] -= sign * STEP * direction / length
    exact = sum(float((grads[name] * d).sum()) for name, d in directions.items()) / length
    return (losses[0] - losses[1]) / (2 * STEP), exact
