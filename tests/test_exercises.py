"""The exercises to code: stubs fail, the page's solutions pass, and wrong answers are refused."""

import documents
import numpy as np
import pytest
from test_house import ROOT

from nnref.backend import xp
from nnref.layers import Linear, Sequential
from nnref.tools import gradcheck

PAGE = ROOT / "tutorials" / "exercises.md"
BLOCKS = documents.blocks(PAGE)
CHECKS = ["check_relu", "check_signs", "check_col2im", "check_gain"]

pytestmark = pytest.mark.skipif(xp is not np, reason="the page is written for NumPy")

BORN = "{}\n\n    def __call__(self, W):\n        return {}"
AT_BIRTH = BORN.format("self.B = scale * np.sign(W)", "self.B")
WRONG = {  # answers by check: each is put in place of some words of the page's solution
    "check_relu": {
        "passes all": ("error * (self.sigma > 0)", "error"),
        "turned round": ("error * (self.sigma > 0)", "error * (self.sigma < 0)"),
        "times sigma": ("error * (self.sigma > 0)", "error * self.sigma.clip(0)"),
        "nonzero at zero": ("self.sigma > 0", "self.sigma >= 0"),
        "no error": ("return error *", "error *"),
        "in place": ("return error * (self.sigma > 0)", "error *= self.sigma > 0; return error"),
    },
    "check_signs": {
        "without lambda": ("self.scale * np.sign(W)", "np.sign(W)"),
        "copies W": ("self.scale * np.sign(W)", "W"),
        "opposite": ("self.scale * np.sign(W)", "-self.scale * np.sign(W)"),
        "sizes alone": ("self.scale * np.sign(W)", "self.scale * np.ones_like(W)"),
        "at birth alone": (BORN.format("self.scale = scale", "self.scale * np.sign(W)"), AT_BIRTH),
        "lambda from the rms of W": ("self.scale *", "np.sqrt((W**2).mean()) *"),
        "writes into W": ("self.scale * np.sign(W)", "self.scale * np.sign(W, out=W)"),
    },
    "check_col2im": {
        "the last patch alone": ("+=", "="),
        "places transposed": ("patches[:, r, c]", "patches[:, r, c].swapaxes(1, 2)"),
        "a place forgotten": ("range(OW)", "range(OW - 1)"),
        "only the corner": ("x[:, r : r + k, c : c + k] += patches[:, r, c]", "x[:, r, c] += 1"),
        "a mean": ("return x", "return x / k**2"),
        "another shape": ("return x", "return x[:, :-1]"),
    },
    "check_gain": {
        "not summed": (".sum(axis=0)", ""),
        "a mean": (".sum(axis=0)", ".mean(axis=0)"),
        "error without g": ('return self.params["g"] * delta', "return delta"),
        "no gradient": ('"g": (self.x', '"gain": (self.x'),
        "gradient without x": ("self.x * delta", "delta"),
        "no error": ('return self.params["g"] * delta', ""),
        "forward adds": ('self.params["g"] * x', 'self.params["g"] + x'),
        "the identity": ('return self.params["g"] * x', "return x"),
        "in place": ('return self.params["g"] * delta', 'delta *= self.params["g"]; return delta'),
    },
}


def run_with(check, old="", new=""):
    """What the check prints of the page's solution, in which `old` has become `new`."""
    namespace = {"__name__": "__main__"}
    for code, _ in BLOCKS:
        if f"attempt({check})" in code and f"def {check}" not in code:
            assert old in code
            return documents.output_of(code.replace(old, new), PAGE, namespace)
        documents.output_of(code, PAGE, namespace)
    raise AssertionError("no such solution")


def test_the_page_prints_what_it_shows():
    documents.run(PAGE)


def test_every_exercise_stands_unwritten_with_its_solution_folded_away():
    shown = "".join(output for _, output in BLOCKS)
    for check in CHECKS:
        assert f"{check}: not written yet\n" in shown
        assert f"{check}: right\n" in shown
    folded = PAGE.read_text().split("<details><summary>A solution</summary>\n\n```python\n")[1:]
    assert [text.partition("attempt(")[2].partition(")")[0] for text in folded] == CHECKS
    assert PAGE.read_text().count("</details>") == len(CHECKS)


@pytest.mark.parametrize("check", CHECKS)
def test_a_solution_is_right(check):
    assert run_with(check) == f"{check}: right\n"


@pytest.mark.parametrize(
    ("check", "mistake"), [(check, mistake) for check in CHECKS for mistake in WRONG[check]]
)
def test_a_wrong_answer_is_told_in_one_line(check, mistake):
    printed = run_with(check, *WRONG[check][mistake])
    assert printed.startswith(f"{check}: wrong. ")
    assert printed.count("\n") == 1


def test_all_but_the_solutions_runs_while_nothing_is_written():
    """As in a notebook, where the solutions stay folded away."""
    namespace = {"__name__": "__main__"}
    for code, shown in BLOCKS:
        if ": right\n" not in shown:
            documents.assert_same(documents.output_of(code, PAGE, namespace), shown)


def test_a_gain_that_forgets_g_in_its_error_passes_where_all_g_are_one():
    namespace = {"__name__": "__main__"}
    for code, shown in BLOCKS:
        if shown == "check_gain: right\n":
            code = code.replace('return self.params["g"] * delta', "return delta")
        documents.output_of(code, PAGE, namespace)
    network = Sequential(Linear(6, 20, np.random.default_rng(0)), namespace["Gain"](20))
    x = np.random.default_rng(1).normal(size=(8, 6))
    assert gradcheck.check(network, x, np.arange(8)) < 1e-6
    network.layers[1].params["g"][...] = 3
    with pytest.raises(AssertionError, match=r"^Gain\(\): the error"):
        gradcheck.check(network, x, np.arange(8))
