"""The table of rules: every rule of feedback.py stands in it, with all that is said of it."""

import inspect

import numpy as np
import pytest

from nnref import feedback
from nnref.backend import to_device, to_host
from nnref.feedback import Feedback
from nnref.init import normal
from nnref.layers.base import rule_of_a_layer
from nnref.rules.known import COLORS, KNOWN, RULES


def test_every_rule_of_feedback_py_is_known():
    classes = {
        thing
        for _, thing in inspect.getmembers(feedback, inspect.isclass)
        if issubclass(thing, Feedback) and thing is not Feedback
    }
    assert {type(known.rule) for known in KNOWN.values()} >= classes
    assert list(RULES) == list(COLORS) == list(KNOWN)


def test_every_rule_has_a_color_and_a_marker_of_its_own():
    assert len(set(COLORS.values())) == len(COLORS)
    assert len({known.marker for known in KNOWN.values()}) == len(KNOWN)


AT_ONCE = [  # rules that have what they need of W without a step
    name for name, known in KNOWN.items() if type(known.rule).on_step is Feedback.on_step
]


@pytest.mark.parametrize("name", AT_ONCE)
def test_the_bits_say_what_of_W_is_needed(name):
    """Bits at every step: B changes its sign with W. Bits once: it does so with the initial W.

    32 bits: B is scaled as W is. One bit: B does not notice that W is scaled.
    """
    rng = np.random.default_rng(0)
    W = to_device(rng.normal(size=(6, 5)))
    rule = rule_of_a_layer(KNOWN[name].rule, W, 0.5, normal, np.random.default_rng(1))
    signs = np.sign(to_host(rule(W)))
    follows = (np.sign(to_host(rule(-W))) == -signs).all() and signs.any()
    born_opposite = rule_of_a_layer(KNOWN[name].rule, -W, 0.5, normal, np.random.default_rng(1))
    starts = (np.sign(to_host(born_opposite(-W))) == -signs).all() and signs.any()
    every_step, once = KNOWN[name].bits
    assert bool(every_step) == follows
    assert bool(once) == (starts and not follows)
    if every_step > 1 or name == "sign-symmetry-rms":  # whose scale is not paid for by synapse
        assert (to_host(rule(2 * W)) == 2 * to_host(rule(W))).all()
    elif every_step and name != "redrawn-magnitudes":
        assert (to_host(rule(2 * W)) == to_host(rule(W))).all()
