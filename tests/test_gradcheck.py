"""`python -m nnref gradcheck`: right gradients pass, wrong ones are told, by layer."""

import pytest

from nnref.layers import Conv2d
from nnref.runs.settings import MODELS
from nnref.tools import gradcheck


@pytest.mark.parametrize("name", ["mlp", "lenet", "cifar-cnn", "resnet20", "alexnet"])
def test_the_zoo_passes(name, capsys):
    assert gradcheck.run(name, MODELS[name]) == 0
    assert "largest relative error" in capsys.readouterr().out


def test_a_wrong_gradient_is_told(monkeypatch, capsys):
    original = Conv2d.backward

    def wrong(self, delta):
        error = original(self, delta)
        self.grads["W"] = self.grads["W"] * 1.001
        return error

    monkeypatch.setattr(Conv2d, "backward", wrong)
    assert gradcheck.run("lenet", MODELS["lenet"]) == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    worst = {
        row[0].split("(")[0]: float(row[-1]) for row in rows if row[0].startswith(("Conv", "Lin"))
    }
    assert worst["Conv2d"] > 1e-4 > worst["Linear"]


@pytest.mark.parametrize("factor", [0.0, float("nan")])
@pytest.mark.parametrize("name", ["W", "b"])
def test_a_gradient_that_is_missing_or_nan_is_told(name, factor, monkeypatch):
    original = Conv2d.backward

    def wrong(self, delta):
        error = original(self, delta)
        self.grads[name] = self.grads[name] * factor
        return error

    monkeypatch.setattr(Conv2d, "backward", wrong)
    assert gradcheck.run("lenet", MODELS["lenet"]) == 1
