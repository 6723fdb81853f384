"""The zoo: shapes, parameter counts, exact gradients of whole networks, one dtype throughout."""

import math

import numpy as np
import pytest
from oracles import assert_same, gradient_errors, normal, randomize

from nnref import layers, models
from nnref.backend import xp
from nnref.errors import InputError
from nnref.feedback import (
    Backprop,
    FeedbackAlignment,
    FixedMagnitudes,
    RedrawnMagnitudes,
    Sham,
    SignedInit,
    SignSymmetry,
)
from nnref.init import stream
from nnref.losses import softmax_cross_entropy
from nnref.measure import norm_ratio, weight_layers
from nnref.optim import SGD, Adam, BatchManhattan


def small_conv_net(feedback=None, dtype="float64"):
    """Every kind of layer once, on 9 x 8 images of 2 channels."""
    rng, rest = stream(0, "init"), {"feedback": feedback or Backprop(), "dtype": dtype}
    return layers.Sequential(
        layers.Conv2d(2, 3, 3, rng, padding=1, **rest),
        layers.BatchNorm(3, dtype),
        layers.Tanh(),
        layers.MaxPool2d(2),
        layers.Residual(
            layers.Sequential(
                layers.Conv2d(3, 4, 3, rng, stride=2, padding=1, **rest), layers.Sigmoid()
            ),
            layers.Conv2d(3, 4, 1, rng, stride=2, **rest),
        ),
        layers.AvgPool2d(2, stride=1),
        layers.Residual(layers.Sequential(layers.Conv2d(4, 4, 1, rng, **rest), layers.ReLU())),
        layers.GlobalAvgPool(),
        layers.Flatten(),
        layers.Linear(4, 3, rng, **rest),
    )


NETWORKS = {
    "mlp-relu": (lambda: models.mlp([7, 5], input_shape=(6,), classes=3, dtype="float64"), (4, 6)),
    "mlp-tanh": (
        lambda: models.mlp(
            [7], input_shape=(6,), classes=3, activation=layers.Tanh, dtype="float64"
        ),
        (4, 2, 3, 1),
    ),
    "lenet": (lambda: models.lenet(dtype="float64"), (2, 28, 28, 1)),
    "cifar-cnn": (
        lambda: models.cifar_cnn((9, 8, 3), width=0.1, dtype="float64"),
        (2, 9, 8, 3),
    ),
    "locally-connected": (
        lambda: models.locally_connected((9, 8, 3), width=0.1, dtype="float64"),
        (2, 9, 8, 3),
    ),
    "lenet-biotorch": (
        lambda: models.lenet_biotorch((20, 18, 3), width=0.1, dtype="float64"),
        (2, 20, 18, 3),
    ),
    "resnet20": (lambda: models.resnet20((9, 8, 3), width=0.2, dtype="float64"), (3, 9, 8, 3)),
    "resnet8": (
        lambda: models.resnet20((9, 8, 3), blocks=1, stem_stride=2, width=0.2, dtype="float64"),
        (3, 9, 8, 3),
    ),
    "resnet18": (
        lambda: models.resnet18((40, 36, 3), classes=4, width=0.05, dtype="float64"),
        (3, 40, 36, 3),
    ),
    "resnet18-cifar": (
        lambda: models.resnet18((9, 8, 3), 4, stem="cifar", width=0.05, dtype="float64"),
        (3, 9, 8, 3),
    ),
    "alexnet": (
        lambda: models.alexnet((64, 60, 3), classes=4, width=0.02, dtype="float64"),
        (4, 64, 60, 3),
    ),
    "every-layer": (small_conv_net, (3, 9, 8, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_whole_networks_are_exact(name, rng):
    make, shape = NETWORKS[name]
    model = make()
    randomize(model, rng)
    for layer in model.walk():
        layer.sends_error = True  # so that dx is checked too
    # a deep network has a kink so near that a step may cross it; elsewhere a longer step keeps
    # rounding small beside it; a wrong gradient is off by 1
    deep = len(weight_layers(model)) > 5
    errors = gradient_errors(model, normal(rng, shape), rng, h=1e-6 if deep else 1e-5)
    assert max(errors) < (1e-4 if deep else 1e-6)


RULES = (
    Backprop,
    Sham,
    SignSymmetry,
    FixedMagnitudes,
    RedrawnMagnitudes,
    SignedInit,
    FeedbackAlignment,
)


def arrays_in(thing, seen=None):
    """Every array that an object holds, however deep."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, np.ndarray | xp.ndarray):
        yield thing
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from arrays_in(value, seen)
    elif isinstance(thing, list | tuple):
        for value in thing:
            yield from arrays_in(value, seen)
    elif type(thing).__module__.startswith("nnref"):
        yield from arrays_in(vars(thing), seen)


@pytest.mark.parametrize("optimizer", [SGD, BatchManhattan, Adam])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_after_one_step_every_floating_array_has_the_dtype_asked_for(rule, optimizer, dtype, rng):
    model = small_conv_net(rule(), dtype)
    steps = optimizer(model, 0.1)
    loss, delta = softmax_cross_entropy(
        model.forward(normal(rng, (4, 9, 8, 2), dtype)), np.array([0, 1, 2, 0])
    )
    error = model.backward(delta)
    steps.step()
    found = [array for array in arrays_in([model, steps, error]) if array.dtype.kind == "f"]
    assert len(found) > 40
    assert {array.dtype for array in found} == {np.dtype(dtype)}
    assert loss.dtype == dtype


@pytest.mark.parametrize(
    "make",
    [lambda **rules: models.mlp([4, 3], input_shape=(5,), classes=2, **rules), models.lenet],
    ids=["mlp", "lenet"],
)
def test_every_layer_gets_the_rule_and_the_last_one_its_own_if_given(make):
    def kinds(**rules):
        return [type(layer.feedback) for layer in weight_layers(make(**rules))]

    count = len(kinds())
    assert kinds() == [Backprop] * count
    assert kinds(feedback=SignSymmetry()) == [SignSymmetry] * count
    mixed = kinds(feedback=FeedbackAlignment(), last_feedback=Backprop())
    assert mixed == [FeedbackAlignment] * (count - 1) + [Backprop]


ZOO = {
    "mlp": (models.mlp, (28, 28, 1)),
    "lenet": (models.lenet, (28, 28, 1)),
    "cifar_cnn": (models.cifar_cnn, (32, 32, 3)),
    "locally_connected": (models.locally_connected, (32, 32, 3)),
    "lenet_biotorch": (models.lenet_biotorch, (32, 32, 3)),
    "resnet20": (models.resnet20, (32, 32, 3)),
    "resnet18": (models.resnet18, (64, 64, 3)),
    "alexnet": (models.alexnet, (64, 64, 3)),
}


def count(model):
    return sum(param.size for layer in model.walk() for param in layer.params.values())


@pytest.mark.parametrize("name", ZOO)
def test_all_take_the_same_options_and_give_logits(name, rng):
    make, shape = ZOO[name]
    options = {"feedback": FeedbackAlignment(), "last_feedback": SignSymmetry(), "seed": 3}
    model = make(input_shape=shape, classes=7, width=0.25, **options)
    logits = model.forward(normal(rng, (2, *shape), "float32"))
    assert logits.shape == (2, 7)
    kinds = [type(layer.feedback) for layer in weight_layers(model)]
    assert kinds == [FeedbackAlignment] * (len(kinds) - 1) + [SignSymmetry]
    assert not weight_layers(model)[0].sends_error


def test_resnet_18_has_the_published_number_of_parameters():
    """11,689,512 (torchvision's model card); on CIFAR-10, 11,173,962: another stem and top."""
    assert count(models.resnet18()) == 11_689_512
    imagenet_stem, imagenet_top = 7 * 7 * 3 * 64, 512 * 1000 + 1000
    cifar_stem, cifar_top = 3 * 3 * 3 * 64, 512 * 10 + 10
    expected = 11_689_512 - imagenet_stem - imagenet_top + cifar_stem + cifar_top
    assert count(models.resnet18((32, 32, 3), 10, stem="cifar")) == expected == 11_173_962


def test_the_small_convolutional_network_is_32_32_pool_64_64_pool_256():
    kinds = [type(layer).__name__ for layer in models.cifar_cnn().layers]
    stage = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    assert kinds == [*stage, *stage, "Flatten", "Linear", "ReLU", "Linear"]
    shapes = [layer.params["W"].shape for layer in weight_layers(models.cifar_cnn())]
    assert shapes == [(27, 32), (288, 32), (288, 64), (576, 64), (8 * 8 * 64, 256), (256, 10)]


def test_the_locally_connected_network_has_weights_for_every_place():
    shapes = [layer.params["W"].shape for layer in weight_layers(models.locally_connected())]
    places = [(16 * 16, 25 * 3, 32), (8 * 8, 25 * 32, 64), (8 * 8, 9 * 64, 64)]
    assert shapes == [*places, (8 * 8 * 64, 512), (512, 10)]


@pytest.mark.parametrize("name", ZOO)
def test_width_multiplies_the_columns_of_every_layer_but_the_last(name):
    make, shape = ZOO[name]
    narrow, wide = (
        [layer.params["W"].shape[-1] for layer in weight_layers(make(input_shape=shape, width=w))]
        for w in (0.25, 0.5)
    )
    assert narrow[-1] == wide[-1]
    small = {"lenet": 1}.get(name, 0)  # 6 channels: a quarter is rounded
    for a, b in zip(narrow[:-1], wide[:-1], strict=True):
        assert abs(b - 2 * a) <= small


@pytest.mark.parametrize("name", ZOO)
def test_another_seed_draws_other_weights(name):
    make, shape = ZOO[name]
    one, same, other = (
        weight_layers(make(input_shape=shape, width=0.1, seed=seed))[0].params["W"]
        for seed in (1, 1, 2)
    )
    assert_same(one, same)
    assert (one != other).mean() > 0.99


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.mlp([0]), "expected whole numbers of units from 1, found 0"),
        (lambda: models.mlp([2.5]), "expected whole numbers of units from 1, found 2.5"),
        (lambda: models.mlp(256), "expected hidden to be a list such as"),
        (lambda: models.mlp(activation="relu"), "expected activation to be a class such as ReLU"),
        (lambda: models.lenet((64, 64, 3)), "expected images of 28 x 28 or 32 x 32, found 64 x 64"),
        (lambda: models.cifar_cnn((2, 2, 3)), "expected images of at least 4 x 4 pixels"),
        (lambda: models.alexnet((28, 28, 3)), "expected images of at least 29 x 29 pixels"),
        (lambda: models.resnet20((32, 32)), "expected input_shape as (height, width, channels)"),
        (lambda: models.resnet18((-32, -32, 3)), "expected input_shape as"),
        (
            lambda: models.resnet20(width=float("inf")),
            "expected a width above 0, at most 1000, found inf",
        ),
        (lambda: models.resnet20(blocks=0), "resnet20: expected blocks to be 1, 2, ..., found 0"),
        (lambda: models.resnet20(stem_stride=1.5), "expected stem_stride to be 1, 2, ..., found 1"),
        (lambda: models.lenet_biotorch((17, 32, 3)), "expected images of at least 18 x 18 pixels"),
        (lambda: models.resnet20(width="2"), "expected a width above 0, at most 1000, found '2'"),
        (lambda: models.lenet(width=1001), "a width above 0, at most 1000, found 1001"),
        (lambda: models.mlp(None), "expected hidden to be a list such as [256, 128], found None"),
        (lambda: models.mlp("ab"), "expected hidden to be a list such as [256, 128], found ab"),
        (lambda: models.mlp(input_shape=784), "input_shape such as (28, 28, 1), found 784"),
        (lambda: models.mlp(input_shape="abc"), "input_shape such as (28, 28, 1), found 'abc'"),
        (lambda: models.lenet(classes=0), "expected n_out to be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_is_one_line(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_smallest_image_for_alexnet_works(rng):
    model = models.alexnet((29, 29, 3), classes=4, width=0.05)
    assert model.forward(normal(rng, (2, 29, 29, 3), "float32")).shape == (2, 4)


def test_alexnets_kernel_depends_on_the_smaller_side():
    for shape, k in (((128, 128, 3), 11), ((127, 200, 3), 5), ((200, 127, 3), 5)):
        assert weight_layers(models.alexnet(shape, width=0.02))[0].k == k


def test_resnet_20_has_20_layers_and_its_number_of_parameters():
    """By hand: 3 x 3 kernels of each stage, a gain and a bias per channel, two 1 x 1 shortcuts."""
    model = models.resnet20()
    deep = [layer for layer in weight_layers(model) if getattr(layer, "k", 3) == 3]
    assert len(deep) == 20  # 19 convolutions and the last, linear layer; shortcuts do not count
    stem = 27 * 16 + 2 * 16
    stages = [6 * (9 * 16 * 16 + 2 * 16)]
    for c_in, c in ((16, 32), (32, 64)):
        stages += [9 * c_in * c + 5 * 9 * c * c + 6 * 2 * c + c_in * c + 2 * c]
    assert count(model) == stem + sum(stages) + 65 * 10 == 272_474


@pytest.mark.parametrize(("blocks", "deep"), [(1, 8), (2, 14), (3, 20)])
def test_fewer_blocks_make_a_resnet_20_a_resnet_8_or_14(blocks, deep):
    layers_deep = weight_layers(models.resnet20(blocks=blocks, width=0.1))
    assert len(layers_deep) == deep + 2  # the shortcuts do not count
    assert sum(getattr(layer, "k", 3) == 3 for layer in layers_deep) == deep


def test_a_stem_of_stride_2_halves_the_image_for_all_that_follows(rng):
    model = models.resnet20(blocks=1, stem_stride=2, width=0.25)
    x = normal(rng, (2, 32, 32, 3), "float32")
    sizes = []
    for layer in model.layers:
        x = layer.forward(x)
        sizes.append(x.shape[1:-1])
    assert sizes[0] == (16, 16)
    assert list(dict.fromkeys(sizes)) == [(16, 16), (8, 8), (4, 4), ()]


def test_biotorchs_lenet_has_32_64_128_kernels_without_padding_and_256_units(rng):
    model = models.lenet_biotorch()
    kinds = [type(layer).__name__ for layer in model.layers]
    stage = ["Conv2d", "ReLU", "MaxPool2d"]
    assert kinds == [
        *stage, *stage, "Conv2d", "ReLU", "GlobalAvgPool", "Linear", "ReLU", "Linear",
    ]  # fmt: skip
    shapes = [layer.params["W"].shape for layer in weight_layers(model)]
    assert shapes == [(27, 32), (288, 64), (576, 128), (128, 256), (256, 10)]
    x, sizes = normal(rng, (1, 32, 32, 3), "float32"), []
    for layer in model.layers:
        x = layer.forward(x)
        sizes += [x.shape[1]] if isinstance(layer, layers.Conv2d) else []
    assert sizes == [30, 13, 4]
    for layer in weight_layers(model):  # Glorot's uniform, over what a weight reads and feeds
        W, k2 = layer.params["W"], getattr(layer, "k", 1) ** 2
        bound = math.sqrt(6 / (W.shape[0] + k2 * W.shape[1]))
        assert 0.95 * bound < abs(W).max() <= bound


def test_alexnets_have_the_authors_channels_and_kernels():
    for shape, first, pixels in (((224, 224, 3), 11, 6 * 6), ((64, 64, 3), 5, 3 * 3)):
        shapes = [layer.params["W"].shape for layer in weight_layers(models.alexnet(shape))]
        assert shapes == [
            (first * first * 3, 64),
            (25 * 64, 192),
            (9 * 192, 384),
            (9 * 384, 256),
            (9 * 256, 256),
            (pixels * 256, 4096),
            (4096, 4096),
            (4096, 1000),
        ]


def test_every_relu_of_alexnet_has_a_batch_norm_below_and_no_layer_below_that_a_bias():
    stack = models.alexnet((64, 64, 3), width=0.1).layers
    assert sum(isinstance(layer, layers.ReLU) for layer in stack) == 7
    for below, norm, relu in zip(stack, stack[1:], stack[2:], strict=False):
        if isinstance(relu, layers.ReLU):
            assert isinstance(norm, layers.BatchNorm)
            assert "b" not in below.params
    assert "b" in stack[-1].params


def ratios(model):
    """rms(B) / rms(W) of every layer with weights."""
    return [
        norm_ratio(layer.params["W"], layer.feedback(layer.params["W"]))
        for layer in weight_layers(model)
    ]


def test_the_authors_lambda_has_the_size_of_a_resnets_weights():
    """Both are sqrt(2 / (k k C_out)): 1.00 in every convolution, the 1 x 1 shortcuts included."""
    *convolutions, top = ratios(models.resnet18((64, 64, 3), feedback=SignSymmetry()))
    np.testing.assert_allclose(convolutions, 1, atol=0.02)
    assert len(convolutions) == 20
    assert top == pytest.approx(np.sqrt(3), rel=0.01)  # W uniform, B at its bound
    *convolutions, top = ratios(models.resnet20(feedback=SignSymmetry()))
    np.testing.assert_allclose(convolutions, 1, atol=0.05)


def test_the_authors_lambda_in_alexnet():
    """sqrt(6 C_in / C_out): 0.53, 1.41, 1.73, 3.00, 2.45; in linear layers sqrt(3)."""
    found = ratios(models.alexnet((64, 64, 3), feedback=SignSymmetry()))
    expected = [0.53, 1.41, 1.73, 3.00, 2.45, 1.73, 1.73, 1.73]
    np.testing.assert_allclose(found, expected, rtol=0.01)


@pytest.mark.parametrize("size", [28, 32])
def test_lenet_takes_both_sizes_of_image(size, rng):
    model = models.lenet((size, size, 1))
    assert model.forward(normal(rng, (2, size, size, 1), "float32")).shape == (2, 10)
    assert count(model) == 61_706


def test_width_multiplies_channels_and_units():
    wide = [layer.params["W"].shape for layer in weight_layers(models.lenet(width=2))]
    assert wide == [(25, 12), (300, 32), (800, 240), (240, 168), (168, 10)]
    narrow = models.lenet(width=0.01)
    assert [layer.params["W"].shape[1] for layer in weight_layers(narrow)] == [1, 1, 1, 1, 10]
    with pytest.raises(InputError, match="expected a width above 0, at most 1000, found 0"):
        models.lenet(width=0)


def test_resnets_stem_has_two_kinds():
    with pytest.raises(InputError, match=r"^resnet18: expected stem to be imagenet or cifar"):
        models.resnet18(stem="small")
