"""The moving page computes what nnref computes, and can be used by everybody, offline."""

import json
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
    pytest.mark.skipif(xp is not np, reason="the expected values are computed with NumPy"),
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
        rows = [browser.ask(f"nnref.start({json.dumps({**student.start(), **settings})})")]
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

    def test_what_is_shown_is_what_was_measured(self, browser):
        now = page_in(browser).ask("nnref.start({rule: 'random'}); nnref.step(30)")
        seen = browser.ask(after_a_frame(
            "['angle-out', 'weights-out', 'loss-out', 'step-out'].map((id) => $(id).textContent)"
        ))  # fmt: skip
        assert seen == [
            f"{now['error']:.0f}°", f"{now['weights']:.0f}°", f"{now['loss']:.1f}", "30"
        ]  # fmt: skip
        needle = browser.ask("$('sent').getAttribute('transform')")
        assert float(needle.split("(")[1].split()[0]) == pytest.approx(now["error"])

    def test_the_page_shows_the_program_that_runs(self, browser):
        code = page_in(browser).ask("$('code').textContent")
        assert "Eq. 1" in code and "Eq. 2" in code
        assert code == browser.ask("$('arithmetic').textContent").strip()

    def test_the_angle_to_the_signs_follows_from_the_histogram(self, browser):
        page_in(browser)
        for shape, degrees in ((-1, 45.0), (-0.5, 37.1), (0, 30.0), (1, 0.0)):
            slide(browser, "shape", shape)
            predicted, measured = (
                float(browser.ask(f"$('shape-{name}').textContent").rstrip("°"))
                for name in ("predicted", "measured")
            )
            assert predicted == degrees
            assert measured == pytest.approx(predicted, abs=1)

    def test_the_overlap_is_that_of_tutorial_8(self, browser):
        page_in(browser)
        for delay in (0, 0.5, 0.8, 1, 1.5, 2):
            slide(browser, "delay", delay)
            found = browser.ask("['strength', 'false-1', 'false-2'].map((id) => $(id).textContent)")
            clock = Clock(hold=20, delay=round(20 * delay))
            assert [float(v) for v in found] == pytest.approx([overlap(clock, k) for k in range(3)])


def after_a_frame(expression):
    return f"new Promise((r) => requestAnimationFrame(() => setTimeout(() => r({expression}))))"


def slide(browser, name, value):
    browser.ask(f"$('{name}').value = {value}; $('{name}').oninput()")


def focused(browser):
    """What has the focus: its id, or the value of a choice."""
    return browser.ask(
        "document.activeElement.type === 'radio' ? document.activeElement.value"
        " : document.activeElement.id || document.activeElement.tagName"
    )


class TestUse(InABrowser):
    def test_it_asks_for_nothing_and_raises_nothing(self, browser):
        page_in(browser, prefers_reduced_motion="no-preference")
        for rule in ("backprop", "signs", "share", "random"):
            browser.ask(f"document.querySelector('[value={rule}]').click(); nnref.step(2)")
        for button in ("run", "one", "many", "again", "fresh", "held", "run"):
            browser.ask(f"$('{button}').click()")
        browser.ask(after_a_frame("0"))
        assert browser.troubles() == []

    def test_with_reduced_motion_it_moves_on_a_click_alone(self, browser):
        page_in(browser, prefers_reduced_motion="reduce")
        wait = "new Promise((r) => setTimeout(() => r(nnref.state()), 600))"
        still = browser.ask(wait)
        assert (still["running"], still["step"]) == (False, 0)
        assert not browser.ask("$('calm').hidden")
        browser.ask("$('many').click()")
        assert browser.ask(wait)["step"] == 25

    def test_elsewhere_it_starts_by_itself_and_pauses_at_a_click(self, browser):
        page_in(browser, prefers_reduced_motion="no-preference")
        browser.ask("new Promise((r) => setInterval(() => nnref.state().step > 2 && r(), 20))")
        browser.ask("$('run').click()")
        paused = browser.ask("nnref.state().step")
        assert browser.ask("new Promise((r) => setTimeout(() => r(nnref.state().step), 300))") == (
            paused
        )
        assert browser.ask("$('say').textContent").startswith("Paused. Step")

    def test_every_control_is_reached_by_tab_shows_it_and_has_a_name(self, browser):
        page_in(browser)
        browser.ask("document.querySelector('[value=share]').click()")
        browser.ask("document.querySelector('details').open = true")
        browser.ask("document.activeElement.blur()")
        reached = []
        for _ in range(20):
            browser.press("Tab", 9)
            reached.append(focused(browser))
            outlines = browser.ask(
                "[document.activeElement, document.activeElement.closest('label')]"
                ".map((e) => e ? getComputedStyle(e).outlineStyle : 'none')"
            )
            assert reached[-1] == "BODY" or outlines != ["none", "none"]
        once = {"share", "yes", "run", "one", "many", "again", "fresh", "held", "speed", "shape"}
        assert {*once, "delay", "SUMMARY", "code"} <= set(reached)
        nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "radio", "checkbox", "slider", "image", "region"}
        named = [node for node in nodes if node.get("role", {}).get("value") in roles]
        assert len(named) > 20
        assert [node for node in named if not node["name"]["value"]] == []

    def test_keys_choose_a_rule_take_a_step_and_move_a_slider(self, browser):
        page_in(browser)
        browser.ask("document.querySelector('[value=random]').focus()")
        browser.press("ArrowRight", 39)
        assert focused(browser) == "share" and not browser.ask("$('dial').hidden")
        browser.ask("$('share').focus()")
        browser.press("ArrowRight", 39)
        assert browser.ask("net.p") == 0.05
        browser.ask("$('one').focus()")
        browser.press(" ", 32, " ")
        assert browser.ask("nnref.state().step") == 1
        browser.ask("$('delay').focus()")
        before = float(browser.ask("$('strength').textContent"))
        browser.press("ArrowRight", 39)
        assert float(browser.ask("$('strength').textContent")) == pytest.approx(before - 0.05)

    def test_restart_brings_back_the_same_start(self, browser):
        page_in(browser)
        birth = browser.ask("nnref.state()")
        browser.ask("$('many').click(); $('again').click()")
        assert browser.ask("nnref.state()") == birth
        browser.ask("$('fresh').click()")
        assert browser.ask("nnref.state()")["W"] != birth["W"]

    def test_what_is_held_still_does_not_move(self, browser):
        page_in(browser)
        birth = browser.ask("nnref.state()")
        browser.ask("$('held').click(); $('many').click()")
        now = browser.ask("nnref.state()")
        assert now["W"] == birth["W"] and now["V"] != birth["V"]

    def test_the_lower_row_can_be_dragged(self, browser):
        page_in(browser, height=1600)
        x, y, width = browser.ask(
            "(() => {const b = document.querySelector('.drag rect').getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2, b.width]})()"
        )
        before = browser.ask("Number($('delay').value)")
        browser.mouse("mousePressed", x, y)
        browser.mouse("mouseMoved", x + width / 2, y)
        browser.mouse("mouseReleased", x + width / 2, y)
        assert browser.ask("Number($('delay').value)") == pytest.approx(before + 0.5, abs=0.05)

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_on_a_phone_nothing_is_cut_off_and_a_finger_meets_every_control(self, browser, scheme):
        page_in(browser, width=390, height=844, prefers_color_scheme=scheme)
        browser.ask("document.querySelector('[value=share]').click()")
        assert browser.ask("document.documentElement.scrollWidth") <= 390
        small = browser.ask(
            "[...document.querySelectorAll('button, .choices label, .check')]"
            ".map((e) => e.getBoundingClientRect()).filter((b) => b.height < 44 || b.width < 44)"
            ".length"
        )
        assert small == 0
