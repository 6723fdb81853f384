"""Optimizers and learning rate schedules, in order of complexity.

An optimizer reads `layer.grads` and changes `layer.params` in place, under any feedback rule.
A schedule is a function from time in epochs (2.5: halfway through the third) to a learning rate.
"""

import math

from nnref.backend import accelerated, xp
from nnref.layers.base import WeightLayer, check_network
from nnref.layers.checks import number, plain, positive

SHARE = "a number from 0 to below 1"


def is_share(value) -> bool:
    """Whether a value is what SHARE says."""
    return 0 <= value < 1


class Optimizer:
    """Base of all optimizers: a model, a learning rate `lr`, and the places of its parameters.

    A place is (array, layer, name): the array changes by layer.grads[name], in place. A B that
    learns (KolenPollack) is another array that changes by the gradient of its layer's W.
    """

    def __init__(self, model, lr: float):
        check_network(type(self).__name__, model)
        self.lr = number(type(self).__name__, lr, "a learning rate above 0", lambda v: v > 0)
        self.places, self.weight_layers = [], []
        for layer in model.walk():
            self.places += [(param, layer, name) for name, param in layer.params.items()]
            if isinstance(layer, WeightLayer):
                self.weight_layers.append(layer)
                if layer.feedback.learns:
                    self.places.append((layer.feedback.B, layer, "W"))

    def __setattr__(self, name, value):
        """Numbers are kept as Python's own: NumPy's would make float64 of float32 in a step."""
        super().__setattr__(name, plain(value))

    def zeros(self) -> list:
        """An array of zeros for every parameter, to keep numbers from step to step."""
        return [xp.zeros_like(param) for param, _, _ in self.places]

    def step(self):
        """Change every parameter, after `backward` has assigned `grads`; then tell the rules."""
        self.update()
        for layer in self.weight_layers:
            layer.feedback.on_step(layer)

    def update(self):
        """Change every parameter in place."""
        raise NotImplementedError(f"{type(self).__name__} does not define update")


class SGD(Optimizer):
    """v <- momentum v + g + weight_decay w;  w <- w - lr v (as in Xiao et al. 2018).

    As in Xiao et al.'s code, the decay acts on every parameter, biases and BatchNorm's gains too.
    """

    def __init__(self, model, lr: float, momentum: float = 0.9, weight_decay: float = 0.0):
        super().__init__(model, lr)
        owner = type(self).__name__
        self.momentum = number(f"{owner}: momentum", momentum, SHARE, is_share)
        decay = number(f"{owner}: weight_decay", weight_decay, "0 or more", lambda v: v >= 0)
        self.weight_decay = decay
        self.velocities = self.zeros()

    @accelerated
    def update(self):
        for (param, layer, name), velocity in zip(self.places, self.velocities, strict=True):
            grad = layer.grads[name]
            velocity *= self.momentum
            velocity += self.direction(grad) + self.weight_decay * param
            param -= self.lr * velocity

    def direction(self, grad):
        """The part of the gradient that is used: all of it."""
        return grad


class BatchManhattan(SGD):
    """SGD on the sign of the gradient (Liao 2016), before decay and momentum (Xiao 2018, code)."""

    def direction(self, grad):
        return xp.sign(grad)


class Adam(Optimizer):
    """m, v: running means of g and g^2;  w <- w - lr m / (sqrt(v) + eps) (Kingma & Ba 2015).

    Both means start at zero; dividing by 1 - beta^t corrects for it at step t.
    """

    def __init__(
        self, model, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
    ):
        super().__init__(model, lr)
        self.beta1 = number("Adam: beta1", beta1, SHARE, is_share)
        self.beta2 = number("Adam: beta2", beta2, SHARE, is_share)
        (self.eps,) = positive("Adam", eps=eps)
        self.t, self.ms, self.vs = 0, self.zeros(), self.zeros()

    @accelerated
    def update(self):
        self.t += 1
        lr = self.lr / (1 - self.beta1**self.t)  # the correction of m, folded into the rate
        correction = 1 - self.beta2**self.t
        for (param, layer, name), m, v in zip(self.places, self.ms, self.vs, strict=True):
            grad = layer.grads[name]
            m *= self.beta1
            m += (1 - self.beta1) * grad
            v *= self.beta2
            v += (1 - self.beta2) * grad**2
            param -= lr * m / (xp.sqrt(v / correction) + self.eps)


def step_decay(lr: float, every: float, factor: float = 0.1):
    """lr times `factor` after every `every` epochs (Xiao et al.: lr 0.1, every 10, factor 0.1)."""
    lr, every, factor = positive("step_decay", lr=lr, every=every, factor=factor)
    return lambda epoch: lr * factor ** (epoch // every)


def cosine(lr: float, epochs: float):
    """Half a cosine, from lr down to 0 at `epochs` (Loshchilov & Hutter 2017)."""
    lr, epochs = positive("cosine", lr=lr, epochs=epochs)
    return lambda epoch: 0.5 * lr * (1 + math.cos(math.pi * min(epoch / epochs, 1)))
