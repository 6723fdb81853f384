"""Direct feedback alignment: the outputs' delta goes straight to every hidden layer (Nokland 2016).

Layers 1 to L have activities h_l of n_l units each; those of layer L are the outputs. Eq. 2 brings
an error down layer by layer, through one B after the other. Here every hidden layer l < L has one
matrix D_l of shape (n_l, n_L), random and fixed, and its error needs nothing from those in between:

    delta_L = dE/dsigma_L         as the loss gives it, so the gradient of the last layer is exact
    e_l = delta_L D_l^T           in place of Eq. 2
    delta_l = f'(sigma_l) e_l     and dE/dW_l = h_{l-1}^T delta_l, as under every rule

All e_l are known as soon as delta_L is, so the layers could learn in any order, or all at once. The
error enters at h_l, the input of layer l + 1; what stands between h_l and W_l (f', BatchNorm, a
pool) passes it on exactly. In a convolutional network h_l is an image, n_l = H*W*C, and D_l has a
weight for every channel at every position, in contrast to a kernel.

D_l is uniform from -1/sqrt(n_l) to 1/sqrt(n_l), the default of Nokland's code (anokland/dfa-torch,
ErrorFeedback.lua), where the errors enter at the same places.

Three consequences. With one hidden layer this is feedback alignment, D_1 = B_2. Without
nonlinearities it is feedback alignment with D_l = B_{l+1} ... B_L, and backpropagation where D_l =
W_{l+1} ... W_L. There a step of gradient descent changes a hidden W_l by some matrix times D_l^T,
whose rank is at most n_L, the number of classes, so weights that start from zero never have a
higher rank. A nonlinearity lifts this limit, since f' differs from sample to sample.
"""

import copy
import math

from nnref.backend import xp
from nnref.errors import InputError
from nnref.feedback import Feedback
from nnref.init import sample, uniform
from nnref.layers import Linear, Sequential
from nnref.layers.base import WeightLayer
from nnref.measure import weight_layers


class Direct(Feedback):
    """The rule of every layer in a `DirectFeedback`: `D` leads from the outputs to its input.

    There is no B. Asked for one, it gives NaN, so that angles with W are undefined. In a network
    that is no DirectFeedback, training then stops at the second step, since the loss is NaN.
    """

    def __call__(self, W):
        return xp.full_like(W, math.nan)


class DirectFeedback(Sequential):
    """The layers of a network in a row, with an error for each straight from the outputs.

    model    a Sequential such as models.mlp or models.lenet, which ends in a Linear layer; its
             layers are taken over, with `Direct` for their rules. D_l is layer l + 1's `feedback.D`
    x        a batch of inputs, from which the sizes n_l are read

    Raises InputError for layers that are not in a row (Residual), or another layer at the end.
    """

    def __init__(self, model, x):
        _check(model)
        super().__init__(*model.layers)
        probe = copy.deepcopy(model)
        for layer in probe.walk():
            layer.training = False  # for BatchNorm one image is enough
        outputs = probe.forward(x).shape[1]  # n_L
        pairs = zip(weight_layers(self), weight_layers(probe), strict=True)
        for number, (layer, seen) in enumerate(pairs):
            rng, layer.feedback = layer.feedback.rng, Direct()
            layer.feedback.rng = rng
            layer.sends_error = False  # no layer below uses what a B would send
            if number > 0:  # below the first layer is no hidden one
                n = seen.x[0].size
                shape, dtype = (n, outputs), layer.params["W"].dtype
                layer.feedback.D = sample(uniform, rng, shape, 1 / math.sqrt(n), dtype)

    def backward(self, delta):
        top, first = delta, weight_layers(self)[0]
        for layer in reversed(self.layers):
            if not isinstance(layer, WeightLayer):
                delta = layer.backward(delta)  # delta_l = f'(sigma_l) e_l
                continue
            layer.backward(delta)  # dE/dW_ij = x_i delta_j
            if layer is first:
                return
            error = top @ layer.feedback.D.T  # in place of Eq. 2:  e_l = delta_L D_l^T
            delta = error.reshape(layer.x.shape)


def _check(model):
    """Raise InputError unless the model is a row of layers that ends in a Linear one."""
    inside = getattr(model, "layers", ())
    odd = model if type(model) is not Sequential else next((o for o in inside if o.layers), None)
    if odd is not None:
        words = f"expected layers in a row, as in models.mlp, found {type(odd).__name__}"
        raise InputError(f"DirectFeedback: {words}")
    if not inside or not isinstance(inside[-1], Linear):
        found = inside[-1] if inside else "none"
        raise InputError(f"DirectFeedback: expected a Linear layer at the end, found {found}")
    for layer in inside[: inside.index(weight_layers(model)[0])]:
        if layer.params:  # no error reaches it
            raise InputError(
                "DirectFeedback: expected a layer with weights before others with parameters, "
                f"found {layer}"
            )
