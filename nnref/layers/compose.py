"""Layers made of layers, in sequence or side by side, and the step from images to vectors."""

from nnref.backend import accelerated
from nnref.errors import InputError
from nnref.layers.base import Layer, WeightLayer
from nnref.layers.checks import check_input


class Sequential(Layer):
    """One layer after the other; without layers, the identity.

    The output of each layer must be a valid input of the next. A layer object may stand in one
    place only, since it remembers one forward pass: a second place raises InputError.
    """

    def __init__(self, *layers):
        super().__init__()
        self.layers = layers
        check_layers(self)

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, delta):
        for layer in reversed(self.layers):
            delta = layer.backward(delta)
            if delta is None:  # that was the first layer with weights: nothing below can learn
                break
        return delta

    def send_no_error_below(self):
        """Tell the first layer with weights not to compute an error, since none is needed below."""
        for layer in self.layers:
            if isinstance(layer, WeightLayer):
                layer.sends_error = False
            if isinstance(layer, Sequential):
                layer.send_no_error_below()
            if any(inner.params for inner in layer.walk()):
                return


class Residual(Layer):
    """main(x) + shortcut(x), by default main(x) + x (He et al. 2015, Deep Residual Learning).

    Backward, both branches get the same delta and the layer below gets the sum of their errors.
    """

    def __init__(self, main, shortcut=None):
        super().__init__()
        self.main = main
        self.shortcut = Sequential() if shortcut is None else shortcut
        self.layers = (self.main, self.shortcut)
        check_layers(self)

    def forward(self, x):
        y, shortcut = self.main.forward(x), self.shortcut.forward(x)
        if y.shape != shortcut.shape:
            raise InputError(
                f"{self}: expected both branches to have the same shape, found {y.shape} and "
                f"{shortcut.shape}"
            )
        return self.add(y, shortcut)

    def backward(self, delta):
        return self.add(self.main.backward(delta), self.shortcut.backward(delta))

    @accelerated
    def add(self, a, b):
        """a + b: the sum of the branches, forward, and of their errors, backward."""
        return a + b


class Flatten(Layer):
    """Reshape images (N, H, W, C), or other arrays with samples first, to vectors (N, H*W*C).

    Raises InputError for an input without a second axis.
    """

    def forward(self, x):
        check_input(self, x, (..., None, None), None)
        self.x_shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, delta):
        return delta.reshape(self.x_shape)


def check_layers(network):
    """Raise InputError unless the network is made of Layer objects, each in one place."""
    for layer in network.layers:
        if not isinstance(layer, Layer):
            raise InputError(
                f"{type(network).__name__}: expected layers such as ReLU(), found {layer!r}"
            )
    seen = set()
    for layer in network.walk():
        if id(layer) in seen:
            raise InputError(
                f"{type(network).__name__}: expected every layer once, found {layer} twice"
            )
        seen.add(id(layer))
