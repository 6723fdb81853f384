"""The moving page computes what nnref computes, and can be used by everybody, offline."""

import re
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, chromium

from nnref import measure
from nnref.backend import xp
from nnref.feedback import Backprop, FeedbackAlignment, SignSymmetry
from nnref.init import uniform
from nnref.layers import Linear, Sequential
from nnref.losses import mean_squared_error
from nnref.optim import SGD
from nnref.questions.late import Clock, overlap
from nnref.questions.pathways import FixedConcordance, TrackingConcordance

PAGE = Path(__file__).parent.parent / "tutorials/alignment.html"
STILL = {"prefers_reduced_motion": "reduce"}
STEPS = 60
in_a_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(not chromium(), reason="no Chromium: apt-get install chromium"),
    pytest.mark.skipif(xp is not np, reason="the page is held to NumPy"),
]


class Wide(FeedbackAlignment):
    """Tutorial 3's B: from U(-0.5, 0.5), fixed."""

    def born(self, W, scale, draw):
        self.B = draw() * 0.5 / scale


RULES = {  # what the page is told -> the rule in nnref, and whether W is held still
    "backprop": ({"rule": "backprop"}, Backprop(), False),
    "signs": ({"rule": "signs"}, SignSymmetry(), False),
    "random": ({"rule": "random"}, Wide(), False),
    "held": ({"rule": "random", "held": True}, Wide(), True),
    "antiparallel": ({"rule": "share", "p": 0, "follows": True}, TrackingConcordance(0), False),
    "tracking": ({"rule": "share", "p": 0.25, "follows": True}, TrackingConcordance(0.25), False),
    "fixed": ({"rule": "share", "p": 0.25, "follows": False}, FixedConcordance(0.25), False),
    "fixed at 0": ({"rule": "share", "p": 0, "follows": False}, FixedConcordance(0), False),
}


def small(rng, shape, fan_in, fan_out):
    return uniform(rng, shape, 0.01)


class Student:
    """Tutorial 3's student, made of nnref's own parts, and what the page needs to start alike."""

    def __init__(self, rule, held):
        rng = np.random.default_rng(3)
        settings = {"bias": False, "init": small, "dtype": "float64"}
        self.T = rng.uniform(-1, 1, (30, 10))
        self.below = Linear(30, 20, rng, **settings)
        self.top = Linear(20, 10, rng, feedback=rule, **settings)
        self.network = Sequential(self.below, self.top)
        self.optimizer = SGD(self.below if held else self.network, lr=1e-3, momentum=0)
        self.x, self.inputs = rng.normal(size=(100, 30)), rng.normal(size=(STEPS, 20, 30))

    @property
    def matrices(self):
        W = self.top.params["W"]
        return {"V": self.below.params["W"], "W": W, "B": self.top.feedback(W)}

    def start(self):
        """For the page: its matrices, its inputs, and numbers that give every synapse its mask."""
        W, B = self.matrices["W"], self.matrices["B"]
        start = {**self.matrices, "T": self.T, "x": self.x, "inputs": self.inputs}
        return {name: a.tolist() for name, a in {**start, "luck": 1.0 * (W * B < 0)}.items()}

    def measured(self):
        loss, delta = mean_squared_error(self.network.forward(self.x), self.x @ self.T)
        W, B = self.matrices["W"], self.matrices["B"]
        return loss, measure.angle(delta @ B.T, delta @ W.T), measure.angle(W, B)

    def learn(self, x):
        _, delta = mean_squared_error(self.network.forward(x), x @ self.T)
        self.network.backward(delta)
        self.optimizer.step()


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


def page_in(browser, **window):
    browser.open(PAGE, **{**STILL, **window})
    return browser


def test_the_page_is_one_file_that_names_no_other():
    text = PAGE.read_text(encoding="utf-8")
    assert not re.findall(r"https?:|\bsrc=|<link|@import|url\((?!#)|\bimport\(|fetch\(", text)


class InABrowser:
    pytestmark = in_a_browser


class TestArithmetic(InABrowser):
    @pytest.mark.parametrize("name", RULES)
    def test_losses_and_angles_are_those_of_nnref(self, browser, name):
        settings, rule, held = RULES[name]
        student = Student(rule, held)
        browser = page_in(browser)
        rows = [browser.ask(f"nnref.start({ {**student.start(), **settings} })".replace("'", '"')
                .replace("True", "true").replace("False", "false"))]  # fmt: skip
        rows += browser.ask(f"Array.from({{length: {STEPS}}}, () => nnref.step())")
        expected = [student.measured()]
        for x in student.inputs:
            student.learn(x)
            expected.append(student.measured())
        found = [[row["loss"], row["error"], row["weights"]] for row in rows]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        state = browser.ask("nnref.state()")
        for letter, matrix in student.matrices.items():
            np.testing.assert_allclose(state[letter], matrix, rtol=0, atol=1e-9)
        assert rows[-1]["step"] == STEPS
