"""summary: shapes, counts, and a memory estimate that a real step confirms."""

import tracemalloc

import numpy as np
import pytest
from oracles import normal

from nnref import layers, models
from nnref.backend import plainly, xp
from nnref.errors import InputError
from nnref.losses import softmax_cross_entropy
from nnref.tools.summary import peak_memory, summary


def test_summary_prints_layers_shapes_and_lecuns_parameter_counts(capsys):
    """By hand: 156 + 2,416 + 48,120 + 10,164 + 850 = 61,706, LeNet-5 without its sparse table.

    Activations: 2 x 4,704 + 1,176 + 2 x 1,600 + 2 x 400 + 2 x 120 + 2 x 84 + 10 = 15,002.
    """
    model = models.lenet()
    summary(model, (28, 28, 1))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "layer output activations parameters"
    assert lines[1] == "Conv2d(1, 6, k=5, stride=1, padding=2) (28, 28, 6) 4,704 156"
    assert lines[3] == "MaxPool2d(2, stride=2, padding=0) (14, 14, 6) 1,176 0"
    assert lines[13] == "total 15,002 61,706"
    assert len(lines) == 15
    assert lines[14].startswith("peak memory of a training step on a batch of 32: ")
    assert not hasattr(model.layers[0], "x")  # it looked at a copy


def test_summary_shows_what_a_residual_sums_up_indented_below_it(capsys):
    summary(models.resnet20(width=0.25), (32, 32, 3))
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if "k=1" in line)
    block = [line.split("(")[0] for line in lines[start - 6 : start + 3]]
    inner = ["Conv2d", "BatchNorm", "ReLU", "Conv2d", "BatchNorm", "Conv2d", "BatchNorm"]
    assert block == ["Residual", *(f"    {name}" for name in inner), "ReLU"]
    assert not any("Sequential" in line for line in lines)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "a"])
def test_summary_wants_a_batch(batch_size):
    with pytest.raises(InputError, match=r"^summary: expected a batch_size of at least 1"):
        summary(models.lenet(), (28, 28, 1), batch_size)


def test_summary_of_what_is_no_network_or_shape_is_one_line():
    with pytest.raises(InputError, match="summary: expected a network, found None"):
        summary(None, (28, 28, 1))
    for shape in (28, None, "28"):
        with pytest.raises(InputError, match=r"summary: expected a shape as \(28, 28, 1\), found "):
            summary(models.mlp(), shape)


def test_summary_of_an_impossible_input_names_the_layer():
    with pytest.raises(InputError, match=r"^Linear\(400, 120\): expected input of shape"):
        summary(models.lenet(), (32, 32, 1))


def test_summary_evaluates_and_takes_a_model_without_parameters(capsys):
    summary(layers.Sequential(layers.Flatten(), layers.ReLU()), (2, 3, 1))
    assert capsys.readouterr().out.splitlines()[3].split() == ["total", "12", "0"]
    summary(layers.BatchNorm(4), (4,))  # one sample has no variance to train on


@pytest.mark.skipif(xp is not np, reason="tracemalloc sees NumPy's arrays, and no others")
@pytest.mark.parametrize(
    ("make", "shape", "batch_size"),
    [
        (models.mlp, (28, 28, 1), 64),
        (models.lenet, (28, 28, 1), 100),
        (models.resnet20, (32, 32, 3), 32),
        (lambda: models.alexnet((64, 64, 3), width=0.5), (64, 64, 3), 20),
    ],
    ids=["mlp", "lenet", "resnet20", "alexnet"],
)
def test_the_memory_of_a_step_is_what_was_foreseen(make, shape, batch_size, rng):
    """Two steps on a batch, as tracemalloc sees them, within 5 %."""
    model = make()
    foreseen = peak_memory(model, shape, batch_size)
    params = sum(param.nbytes for layer in model.walk() for param in layer.params.values())
    x = normal(rng, (batch_size, *shape), "float32")
    labels = np.zeros(batch_size, int)
    tracemalloc.start()
    with plainly():
        for _ in range(2):
            model.backward(softmax_cross_entropy(model.forward(x.copy()), labels)[1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert foreseen == pytest.approx(params + peak, rel=0.05)
