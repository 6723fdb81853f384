"""The base classes of all layers: two methods, and dictionaries for parameters and gradients.

A layer keeps its state, so that you can look into it afterward: `layer.x` is its input in the last
forward pass, `layer.grads` the gradients that the last backward pass assigned.
"""

import copy
from functools import partial

from nnref.backend import to_device, xp
from nnref.errors import InputError
from nnref.feedback import Feedback
from nnref.init import sample
from nnref.layers.checks import check_dtype, checking, noting


class Layer:
    """One step of a network: `forward` computes its output, `backward` passes the error on.

    params           arrays by name
    grads            arrays by name, assigned (not added to) by `backward`; a name that no parameter
                     has, such as the gradient of a bias that was left out, is ignored
    keeps            names of other arrays that last longer than a step, such as running averages
    made             shape and dtype of the last output; `backward` takes a delta of no other
    layers           the layers inside this one, bottom first (none in most)
    training         BatchNorm uses the statistics of the batch while this is true
    sends_error      false if no layer below needs the error; then `backward` does not compute it
    exact_backward   of a layer that is not in nnref.layers: true if its `backward` gives exact
                     derivatives when all rules inside are Backprop (for measure.py)
    """

    layers = ()
    keeps = ()
    made = None
    training = True
    sends_error = True
    exact_backward = False

    def __init_subclass__(cls, **named):
        """Every layer's `backward` checks its delta, so that no layer has to say so."""
        super().__init_subclass__(**named)
        for name, checked in (("forward", noting), ("backward", checking)):
            if name in vars(cls):
                setattr(cls, name, checked(vars(cls)[name]))

    def __init__(self):
        self.params = {}
        self.grads = NoGradients()

    def forward(self, x):
        """The output of this layer for a batch x; samples are rows, channels are last."""
        raise NotImplementedError

    def backward(self, delta):
        """Given delta at the output, set `grads` and return the error for the layer below.

        An activation is given the error and returns delta. Errors are derivatives of the loss only
        if B = W in all layers above. Never writes into `delta`. Returns None where `sends_error` is
        false.
        """
        raise NotImplementedError

    def walk(self):
        """This layer and all layers inside it, bottom first."""
        yield self
        for layer in self.layers:
            yield from layer.walk()

    def __repr__(self):
        return f"{type(self).__name__}()"


class NoGradients(dict):
    """The gradients of a layer before its first backward pass: asked for one, it says so."""

    def __missing__(self, name):
        raise InputError(
            f"grads[{name!r}]: not there: no backward pass yet, or no parameter of this name"
        )


def check_network(owner, model):
    """Raise InputError, naming the owner, unless the model is a network: an object of a layer."""
    if not isinstance(model, Layer):
        found = type(model).__name__
        raise InputError(f"{owner}: expected a network such as models.mlp([100]), found a {found}")


class WeightLayer(Layer):
    """A layer with weights W (n_in, n_out), a bias b (n_out,) unless left out, and a feedback rule.

    W may be a stack (P, n_in, n_out), one matrix for each place; then b is (P, n_out).

    `scale` and `distribution` are Xiao et al.'s lambda and distribution of a random B for this kind
    of layer (init.py); the rule uses them if it needs to.
    """

    def __init__(self, W, scale, distribution, rng, feedback, bias, dtype):
        super().__init__()
        if not isinstance(feedback, Feedback):
            raise InputError(
                f"{self}: expected feedback to be an object like SignSymmetry(), found {feedback}"
            )
        check_dtype(self, dtype)
        W = to_device(W.astype(dtype))
        self.params = {"W": W}
        if bias:
            self.params["b"] = xp.zeros_like(W[..., 0, :])  # one for each column
        self.feedback = rule_of_a_layer(feedback, W, scale, distribution, rng)
        if self.feedback.learns and not isinstance(getattr(self.feedback, "B", None), xp.ndarray):
            name = type(feedback).__name__
            raise InputError(f"{self}: expected {name}, which learns, to set B in born, found none")
        B = copy.deepcopy(self.feedback)(W)  # a copy of the rule: it may draw numbers
        if not isinstance(B, xp.ndarray):
            raise InputError(
                f"{self}: expected {type(feedback).__name__} to give an array as B, found {B!r}"
            )
        if B.shape != W.shape or B.dtype != W.dtype:
            raise InputError(
                f"{self}: expected {type(feedback).__name__} to give a B of shape {W.shape} and "
                f"dtype {W.dtype}, found {B.shape} and {B.dtype}"
            )


def rule_of_a_layer(feedback, W, scale, distribution, rng):
    """A copy of a feedback rule for one layer, with a random stream of its own.

    The stream is spawned from `rng`, so the draws of a rule do not change the initial weights.
    """
    rule = copy.deepcopy(feedback)
    rule.rng = rng.spawn(1)[0]
    rule.born(W, scale, draw=partial(sample, distribution, rule.rng, W.shape, scale, W.dtype))
    return rule
