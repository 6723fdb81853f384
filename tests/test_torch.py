"""PyTorch as an oracle: the same weights, the same outputs and gradients. `pip install torch`."""

import numpy as np
import pytest
from oracles import randomize

from nnref import layers, losses, models, optim
from nnref.backend import plainly, xp
from nnref.init import stream
from nnref.measure import weight_layers
from nnref.rules.direct import DirectFeedback

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(xp is not np, reason="PyTorch is compared on the CPU"),
]


def leaf(array):
    return torch.tensor(array, requires_grad=True)


def channels_first(x):
    return x.permute(0, 3, 1, 2)


def channels_last(y):
    return y.permute(0, 2, 3, 1)


def kernels(W, k):
    """nnref's (k*k*C_in, C_out) -> PyTorch's (C_out, C_in, k, k)."""
    return W.reshape(k, k, -1, W.shape[1]).permute(3, 2, 0, 1)


def compare(layer, function, shape, rng):
    """Hold output, dx and every parameter's gradient of a layer to PyTorch's `function`."""
    randomize(layer, rng)
    x = rng.standard_normal(shape)
    y = layer.forward(x)
    delta = rng.standard_normal(y.shape)
    error = layer.backward(delta)
    tx = leaf(x)
    params = {name: leaf(param) for name, param in layer.params.items()}
    ty = function(tx, params)
    ty.backward(torch.tensor(delta))
    np.testing.assert_allclose(y, ty.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(error, tx.grad.numpy(), atol=1e-11)
    for name, param in params.items():
        np.testing.assert_allclose(layer.grads[name], param.grad.numpy(), atol=1e-11)


def test_linear(rng):
    layer = layers.Linear(7, 5, stream(0, "init"), dtype="float64")
    compare(layer, lambda x, p: x @ p["W"] + p["b"], (6, 7), rng)


@pytest.mark.parametrize("size", [(6, 6), (7, 9)])
@pytest.mark.parametrize(
    ("k", "stride", "padding"), [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (5, 3, 2), (2, 2, 0)]
)
def test_conv2d(k, stride, padding, size, rng):
    layer = layers.Conv2d(
        3, 4, k, stream(0, "init"), stride=stride, padding=padding, dtype="float64"
    )

    def function(x, p):
        W = kernels(p["W"], k)
        return channels_last(
            torch.nn.functional.conv2d(channels_first(x), W, p["b"], stride, padding)
        )

    compare(layer, function, (2, *size, 3), rng)


@pytest.mark.parametrize("shape", [(8, 5), (3, 4, 6, 5)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_and_its_running_averages(shape, training, rng):
    layer = layers.BatchNorm(5, "float64")
    layer.running_mean[:], layer.running_var[:] = rng.standard_normal(5), rng.random(5) + 0.5
    mean, var = torch.tensor(layer.running_mean), torch.tensor(layer.running_var)
    layer.training = training

    def function(x, p):
        moved = x.movedim(-1, 1)
        y = torch.nn.functional.batch_norm(
            moved, mean, var, p["gamma"], p["beta"], training, layer.momentum, layer.eps
        )
        return y.movedim(1, -1)

    compare(layer, function, shape, rng)
    np.testing.assert_allclose(layer.running_mean, mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var, var.numpy(), rtol=1e-12)


@pytest.mark.parametrize("mean", [0, 100, 5e4])
def test_batch_norm_in_float32_is_as_exact(mean, rng):
    """The largest error, against float64, at means far from zero."""
    x = (mean + rng.standard_normal((64, 16, 16, 8))).astype("float32")
    double = x.astype("float64")
    exact = (double - double.mean(axis=(0, 1, 2))) / np.sqrt(double.var(axis=(0, 1, 2)) + 1e-5)
    theirs = torch.nn.functional.batch_norm(
        torch.tensor(x).movedim(-1, 1), None, None, training=True
    ).movedim(1, -1)
    with plainly():
        reference = layers.BatchNorm(8).forward(x)
    for ours in (layers.BatchNorm(8).forward(x), reference):
        assert abs(ours - exact).max() <= 2 * abs(theirs.numpy() - exact).max() + 2e-6


@pytest.mark.parametrize(("k", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 0), (2, 3, 1)])
def test_pooling(k, stride, padding, rng):
    F = torch.nn.functional
    for layer, pool in (
        (layers.MaxPool2d(k, stride, padding), F.max_pool2d),
        (layers.AvgPool2d(k, stride, padding), F.avg_pool2d),
    ):

        def function(x, p, pool=pool):
            return channels_last(pool(channels_first(x), k, stride, padding))

        compare(layer, function, (2, 7, 8, 3), rng)
    compare(layers.GlobalAvgPool(), lambda x, p: x.mean(dim=(1, 2)), (2, 4, 5, 3), rng)


@pytest.mark.parametrize("name", ["ReLU", "Tanh", "Sigmoid"])
def test_activations(name, rng):
    compare(getattr(layers, name)(), lambda x, p: getattr(torch, name.lower())(x), (6, 7), rng)


def test_losses(rng):
    z, labels, target = rng.standard_normal((6, 4)), rng.integers(0, 4, 6), rng.random((6, 4))
    tz = leaf(z)
    for (loss, delta), oracle in (
        (
            losses.softmax_cross_entropy(z, labels),
            torch.nn.functional.cross_entropy(tz, torch.tensor(labels)),
        ),
        (
            losses.mean_squared_error(z, target),
            0.5 * ((tz - torch.tensor(target)) ** 2).sum(dim=1).mean(),
        ),
    ):
        tz.grad = None
        oracle.backward()
        assert loss == pytest.approx(oracle.item(), rel=1e-12)
        np.testing.assert_allclose(delta, tz.grad.numpy(), atol=1e-15)


OPTIMIZERS = {
    "SGD": (
        lambda model: optim.SGD(model, 0.05, momentum=0.9, weight_decay=0.01),
        lambda params: torch.optim.SGD(params, 0.05, momentum=0.9, weight_decay=0.01),
    ),
    "Adam": (
        lambda model: optim.Adam(model, 0.01),
        lambda params: torch.optim.Adam(params, 0.01),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_lenet_stays_with_its_twin_through_five_steps(name, rng):
    """Outputs, all gradients and all parameters, under backpropagation, in float64."""
    model = models.lenet(dtype="float64", seed=4)
    W = [leaf(layer.params["W"]) for layer in weight_layers(model)]
    b = [leaf(layer.params["b"]) for layer in weight_layers(model)]
    F = torch.nn.functional

    def twin(x):
        y = channels_first(torch.tensor(x))
        y = F.max_pool2d(F.relu(F.conv2d(y, kernels(W[0], 5), b[0], padding=2)), 2)
        y = F.max_pool2d(F.relu(F.conv2d(y, kernels(W[1], 5), b[1])), 2)
        y = channels_last(y).flatten(1)
        y = F.relu(y @ W[2] + b[2])
        y = F.relu(y @ W[3] + b[3])
        return y @ W[4] + b[4]

    ours, theirs = OPTIMIZERS[name]
    ours, theirs = ours(model), theirs([*W, *b])
    for _ in range(5):
        x, labels = rng.standard_normal((8, 28, 28, 1)), rng.integers(0, 10, 8)
        logits, oracle = model.forward(x), twin(x)
        np.testing.assert_allclose(logits, oracle.detach().numpy(), rtol=1e-8, atol=1e-9)
        model.backward(losses.softmax_cross_entropy(logits, labels)[1])
        theirs.zero_grad()
        F.cross_entropy(oracle, torch.tensor(labels)).backward()
        for layer, tW, tb in zip(weight_layers(model), W, b, strict=True):
            np.testing.assert_allclose(layer.grads["W"], tW.grad.numpy(), rtol=1e-6, atol=1e-10)
            np.testing.assert_allclose(layer.grads["b"], tb.grad.numpy(), rtol=1e-6, atol=1e-10)
        ours.step()
        theirs.step()
    for layer, tW in zip(weight_layers(model), W, strict=True):
        np.testing.assert_allclose(layer.params["W"], tW.detach().numpy(), rtol=1e-6, atol=1e-8)


nn = torch.nn


class BasicBlock(nn.Module):
    """The residual block of ResNet-18 and ResNet-20, from He et al. 2015."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x):
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def stem(k, stride, c_out):
    return [
        nn.Conv2d(3, c_out, k, stride, k // 2, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()
    ]  # fmt: skip


def resnet(below, channels, blocks, classes):
    stages, c_in = [], channels[0]
    for stage, c_out in enumerate(channels):
        for block in range(blocks):
            stages.append(BasicBlock(c_in, c_out, 2 if stage and not block else 1))
            c_in = c_out
    top = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, classes)]
    return nn.Sequential(*below, *stages, *top)


def resnet18(classes):
    below = [*stem(7, 2, 64), nn.MaxPool2d(3, 2, 1)]
    return resnet(below, (64, 128, 256, 512), 2, classes)


def resnet18_cifar(classes):
    return resnet(stem(3, 1, 64), (64, 128, 256, 512), 2, classes)


def resnet20(classes):
    return resnet(stem(3, 1, 16), (16, 32, 64), 3, classes)


def resnet8(classes):
    return resnet(stem(3, 2, 16), (16, 32, 64), 1, classes)


def lenet_biotorch(classes):
    return nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 256),
        nn.ReLU(),
        nn.Linear(256, classes),
    )


class ChannelsLast(nn.Module):
    """Before Flatten: nnref flattens images with their channels last."""

    def forward(self, x):
        return channels_last(x)


def alexnet(classes, k=11, stride=4, pixels=36):
    def block(c_in, c_out, k, stride, padding):
        convolution = nn.Conv2d(c_in, c_out, k, stride, padding, bias=False)
        return [convolution, nn.BatchNorm2d(c_out), nn.ReLU()]

    def dense(n_in, n_out):
        return [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU()]

    return nn.Sequential(
        *block(3, 64, k, stride, 2),
        nn.MaxPool2d(3, 2),
        *block(64, 192, 5, 1, 2),
        nn.MaxPool2d(3, 2),
        *block(192, 384, 3, 1, 1),
        *block(384, 256, 3, 1, 1),
        *block(256, 256, 3, 1, 1),
        nn.MaxPool2d(3, 2),
        ChannelsLast(),
        nn.Flatten(),
        *dense(pixels * 256, 4096),
        *dense(4096, 4096),
        nn.Linear(4096, classes),
    )


def pair_up(model, twin):
    """[(nnref's layer, PyTorch's module)], in the order in which both networks list them."""
    ours = [layer for layer in model.walk() if layer.params]
    theirs = [module for module in twin.modules() if list(module.parameters(recurse=False))]
    return list(zip(ours, theirs, strict=True))


def as_ours(array, module):
    """A weight or gradient of PyTorch's module in nnref's shape."""
    if array.ndim == 4:
        return array.permute(2, 3, 1, 0).reshape(-1, len(array)).numpy()
    return array.numpy().T if array.ndim == 2 else array.numpy()


@pytest.mark.parametrize(
    ("make", "make_twin", "batch", "size"),
    [
        (models.resnet18, resnet18, 4, 64),
        (models.resnet18, resnet18, 2, 224),
        (
            lambda *shape, **rest: models.resnet18(*shape, stem="cifar", **rest),
            resnet18_cifar,
            3,
            32,
        ),
        (models.resnet20, resnet20, 4, 32),
        (
            lambda *shape, **rest: models.resnet20(*shape, blocks=1, stem_stride=2, **rest),
            resnet8,
            4,
            32,
        ),
        (models.lenet_biotorch, lenet_biotorch, 3, 32),
        (models.alexnet, lambda classes: alexnet(classes, 5, 2, 9), 4, 64),
        (models.alexnet, alexnet, 3, 224),
    ],
    ids=[
        "resnet18-64",
        "resnet18-224",
        "resnet18-cifar",
        "resnet20",
        "resnet8",
        "lenet-biotorch",
        "alexnet-64",
        "alexnet-224",
    ],
)
def test_networks_of_the_zoo_equal_their_twins(make, make_twin, batch, size, rng):
    """As many parameters; the same weights give the same logits and the same gradients."""
    torch.manual_seed(0)
    model = make((size, size, 3), 10, dtype="float64")
    twin = make_twin(10).double()
    for layer, module in pair_up(model, twin):
        for name, param in zip(layer.params, module.parameters(recurse=False), strict=True):
            if name != "W":  # off their trivial values
                param.data += 0.1 * torch.tensor(rng.standard_normal(param.shape))
            layer.params[name][...] = as_ours(param.detach(), module)
    assert sum(p.numel() for p in twin.parameters()) == sum(
        param.size for layer in model.walk() for param in layer.params.values()
    )
    x, labels = rng.standard_normal((batch, size, size, 3)), rng.integers(0, 10, batch)
    logits, oracle = model.forward(x), twin(channels_first(torch.tensor(x)))
    np.testing.assert_allclose(logits, oracle.detach().numpy(), rtol=1e-9, atol=1e-9)
    model.backward(losses.softmax_cross_entropy(logits, labels)[1])
    nn.functional.cross_entropy(oracle, torch.tensor(labels)).backward()
    for layer, module in pair_up(model, twin):
        for name, param in zip(layer.params, module.parameters(recurse=False), strict=True):
            expected = as_ours(param.grad, module)
            difference = np.linalg.norm(layer.grads[name] - expected)
            assert difference <= 1e-8 * np.linalg.norm(expected) + 1e-12, f"{layer} {name}"


def test_direct_feedback(rng):
    """A convolution with BatchNorm and a pool, then two layers; e_l enters at every h_l."""
    options = {"rng": stream(0, "init"), "dtype": "float64"}
    model = layers.Sequential(
        layers.Conv2d(2, 3, 3, padding=1, **options), layers.BatchNorm(3, "float64"),
        layers.ReLU(), layers.MaxPool2d(2), layers.Conv2d(3, 4, 3, **options), layers.Tanh(),
        layers.Flatten(), layers.Linear(16, 5, **options),
    )  # fmt: skip
    randomize(model, rng)
    x, labels = rng.standard_normal((6, 8, 8, 2)), np.arange(6) % 5
    model = DirectFeedback(model, x)
    _, top = losses.softmax_cross_entropy(model.forward(x), labels)
    model.backward(top)

    first, second, last = weight_layers(model)
    norm = model.layers[1]
    owned = [{n: leaf(p) for n, p in layer.params.items()} for layer in (first, norm, second, last)]
    one, gain, two, three = owned
    functional = torch.nn.functional
    sigma = functional.conv2d(channels_first(torch.tensor(x)), kernels(one["W"], 3), one["b"], 1, 1)
    sigma = functional.batch_norm(sigma, None, None, gain["gamma"], gain["beta"], training=True)
    h1 = channels_last(functional.max_pool2d(torch.relu(sigma), 2))
    sigma = functional.conv2d(channels_first(h1.detach()), kernels(two["W"], 3), two["b"])
    h2 = channels_last(torch.tanh(sigma)).reshape(6, -1)
    logits = h2.detach() @ three["W"] + three["b"]
    functional.cross_entropy(logits, torch.tensor(labels)).backward()
    for h, layer in ((h1, second), (h2, last)):  # the gradient of <h_l, e_l> for what is below h_l
        e = torch.tensor(top @ layer.feedback.D.T).reshape(h.shape)
        (h * e).sum().backward()
    for layer, params in zip((first, norm, second, last), owned, strict=True):
        for name, param in params.items():
            np.testing.assert_allclose(layer.grads[name], param.grad.numpy(), atol=1e-14)
