"""The networks, one function for each; they map images, channels last, to logits.

input_shape      (height, width, channels) of an image
classes          the number of logits
feedback         the rule of every layer with weights: an object such as SignSymmetry()
last_feedback    the rule of the last layer, if different (Xiao et al. often keep Backprop() there)
width            multiplies all numbers of channels and hidden units
seed, dtype      of the initial weights; the rule changes neither the weights nor any other draw

Beside these, mlp takes numbers of hidden units and an activation, resnet20 its depth and the stride
of its stem, and resnet18 a stem. Raises InputError for impossible values.

"Xiao et al." are Xiao, Chen, Liao & Poggio 2018. A layer in front of a BatchNorm has no bias, since
BatchNorm would subtract it again.
"""

import math
from itertools import pairwise

from nnref.errors import InputError
from nnref.feedback import Backprop
from nnref.init import glorot_uniform, he_normal, he_normal_out, pytorch_uniform, stream
from nnref.layers import (
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    LocallyConnected2d,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
)
from nnref.patches import output_size


def mlp(
    hidden=(256, 128), input_shape=(28, 28, 1), classes=10, *, activation=ReLU,
    feedback=Backprop(), last_feedback=None, width=1, seed=0, dtype="float32",
):  # fmt: skip
    """A multi-layer perceptron: Linear layers with `activation` between them, images flattened.

    hidden = (256, 128) are the numbers of hidden units, bottom first; () leaves one Linear layer.
    """
    if not isinstance(activation, type) or not issubclass(activation, Layer):
        raise InputError(f"mlp: expected activation to be a class such as ReLU, found {activation}")
    shared, top = _shared(feedback, last_feedback, seed, dtype)
    if not isinstance(hidden, list | tuple):
        raise InputError(f"mlp: expected hidden to be a list such as [256, 128], found {hidden}")
    if not isinstance(input_shape, list | tuple):
        raise InputError(f"mlp: expected input_shape such as (28, 28, 1), found {input_shape!r}")
    sizes = [math.prod(input_shape), *_scaled(width, *hidden)]
    layers = [Flatten()]
    for n_in, n_out in pairwise(sizes):
        layers += [Linear(n_in, n_out, **shared), activation()]
    return _network(*layers, Linear(sizes[-1], classes, **top))


def lenet(
    input_shape=(28, 28, 1), classes=10, *,
    feedback=Backprop(), last_feedback=None, width=1, seed=0, dtype="float32",
):  # fmt: skip
    """LeNet-5, in today's form, for images of 28 x 28 pixels (MNIST) or 32 x 32 (CIFAR-10).

    Sizes as in LeCun et al. 1998 (Gradient-based learning), padding 2 in place of 32 x 32 images;
    but with ReLU, max pooling, a linear output, and a second convolution that sees all 6 maps.
    """
    height, across, channels = _image(input_shape)
    if (height, across) not in ((28, 28), (32, 32)):
        raise InputError(f"lenet: expected images of 28 x 28 or 32 x 32, found {height} x {across}")
    shared, top = _shared(feedback, last_feedback, seed, dtype)
    maps, more_maps, units, fewer_units = _scaled(width, 6, 16, 120, 84)
    return _network(
        Conv2d(channels, maps, 5, padding=2 if height == 28 else 0, **shared),
        ReLU(),
        MaxPool2d(2),
        Conv2d(maps, more_maps, 5, **shared),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Linear(5 * 5 * more_maps, units, **shared),
        ReLU(),
        Linear(units, fewer_units, **shared),
        ReLU(),
        Linear(fewer_units, classes, **top),
    )


def cifar_cnn(
    input_shape=(32, 32, 3), classes=10, *,
    feedback=Backprop(), last_feedback=None, width=1, seed=0, dtype="float32",
):  # fmt: skip
    """A small convolutional network for CIFAR-10: 32-32-pool-64-64-pool-256-classes.

    All kernels 3 x 3, ReLU after every layer but the last, no BatchNorm. nnref's own design.
    """
    height, across, channels = _image(input_shape, smallest=4)
    shared, top = _shared(feedback, last_feedback, seed, dtype)
    few, more, units = _scaled(width, 32, 64, 256)
    return _network(
        Conv2d(channels, few, 3, padding=1, **shared),
        ReLU(),
        Conv2d(few, few, 3, padding=1, **shared),
        ReLU(),
        MaxPool2d(2),
        Conv2d(few, more, 3, padding=1, **shared),
        ReLU(),
        Conv2d(more, more, 3, padding=1, **shared),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Linear((height // 4) * (across // 4) * more, units, **shared),
        ReLU(),
        Linear(units, classes, **top),
    )


def locally_connected(
    input_shape=(32, 32, 3), classes=10, *,
    feedback=Backprop(), last_feedback=None, width=1, seed=0, dtype="float32",
):  # fmt: skip
    """Three locally connected layers and a hidden one: like a CNN, but no weight is shared.

    The kind of network in which feedback alignment and other rules fell farthest behind
    backpropagation in Bartunov et al. 2018; the sizes are nnref's own.
    """
    shared, top = _shared(feedback, last_feedback, seed, dtype)
    few, more, units = _scaled(width, 32, 64, 512)
    layers, shape = [], _image(input_shape)
    for C_out, k, stride in ((few, 5, 2), (more, 5, 2), (more, 3, 1)):
        layer = LocallyConnected2d(shape, C_out, k, stride=stride, padding=k // 2, **shared)
        layers += [layer, ReLU()]
        shape = (layer.OH, layer.OW, C_out)
    layers += [Flatten(), Linear(math.prod(shape), units, **shared), ReLU()]
    return _network(*layers, Linear(units, classes, **top))


def lenet_biotorch(
    input_shape=(32, 32, 3), classes=10, *,
    feedback=Backprop(), last_feedback=None, width=1, seed=0, dtype="float32",
):  # fmt: skip
    """The LeNet for CIFAR-10 of BioTorch, a library for PyTorch: 32-64-128, then 256-classes.

    Kernels of 3 x 3 pixels without padding, a pool after the first two convolutions, the mean over
    the image after the third; no BatchNorm. Initial weights are those of Glorot & Bengio 2010.
    """
    C_in = _image(input_shape, smallest=18)[2]
    shared, top = _shared(feedback, last_feedback, seed, dtype, glorot_uniform)
    few, more, most, units = _scaled(width, 32, 64, 128, 256)
    return _network(
        Conv2d(C_in, few, 3, **shared),
        ReLU(),
        MaxPool2d(2),
        Conv2d(few, more, 3, **shared),
        ReLU(),
        MaxPool2d(2),
        Conv2d(more, most, 3, **shared),
        ReLU(),
        GlobalAvgPool(),
        Linear(most, units, **shared),
        ReLU(),
        Linear(units, classes, **top),
    )


def resnet20(
    input_shape=(32, 32, 3), classes=10, *, blocks=3, stem_stride=1,
    feedback=Backprop(), last_feedback=None, width=1, seed=0, dtype="float32",
):  # fmt: skip
    """ResNet-20 for CIFAR-10: three stages of three blocks (He et al. 2015, section 4.2).

    Unlike He et al.'s, with 1 x 1 convolutions as shortcuts between stages (their option B), as
    in ResNet-18, so that a shortcut has a feedback matrix too.

    blocks = 1 or 2 in each stage make it a ResNet-8 or ResNet-14. stem_stride = 2 halves the image
    in the first convolution, which divides the work of all others by 4.
    """
    for name, number in {"blocks": blocks, "stem_stride": stem_stride}.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InputError(f"resnet20: expected {name} to be 1, 2, ..., found {number!r}")
    shared, top = _shared(feedback, last_feedback, seed, dtype, he_normal_out)
    channels = _scaled(width, 16, 32, 64)
    C_in = _image(input_shape)[2]
    stem = _conv_norm_relu(C_in, channels[0], 3, stride=stem_stride, padding=1, **shared)
    return _resnet(stem, channels, blocks, classes, shared, top)


def resnet18(
    input_shape=(224, 224, 3), classes=1000, *, stem="imagenet",
    feedback=Backprop(), last_feedback=None, width=1, seed=0, dtype="float32",
):  # fmt: skip
    """ResNet-18: four stages of two blocks (He et al. 2015, table 1), any size of image.

    stem = "imagenet": a 7 x 7 convolution and a pool, which make the image four times smaller.
    stem = "cifar": a 3 x 3 convolution, for 32 x 32 pixels, as in the rerun of Xiao et al.'s code.
    """
    if stem not in ("imagenet", "cifar"):
        raise InputError(f"resnet18: expected stem to be imagenet or cifar, found {stem!r}")
    shared, top = _shared(feedback, last_feedback, seed, dtype, he_normal_out)
    channels, C_in = _scaled(width, 64, 128, 256, 512), _image(input_shape)[2]
    if stem == "imagenet":
        layers = _conv_norm_relu(C_in, channels[0], 7, stride=2, padding=3, **shared)
        layers += [MaxPool2d(3, stride=2, padding=1)]
    else:
        layers = _conv_norm_relu(C_in, channels[0], 3, padding=1, **shared)
    return _resnet(layers, channels, 2, classes, shared, top)


def alexnet(
    input_shape=(224, 224, 3), classes=1000, *,
    feedback=Backprop(), last_feedback=None, width=1, seed=0, dtype="float32",
):  # fmt: skip
    """Xiao et al.'s AlexNet: 64-192-384-256-256, then 4096-4096; BatchNorm before every ReLU.

    No dropout, and PyTorch's default initial weights. Below 128 pixels the first kernel is 5 x 5
    with stride 2, in place of 11 x 11 with stride 4, so that enough pixels are left.
    """
    height, across, channels = _image(input_shape, smallest=29)
    shared, top = _shared(feedback, last_feedback, seed, dtype, pytorch_uniform)
    c1, c2, c3, c4, c5, units = _scaled(width, 64, 192, 384, 256, 256, 4096)
    k, stride = (11, 4) if min(height, across) >= 128 else (5, 2)
    pixels = math.prod(_left_by_alexnet(size, k, stride) for size in (height, across))
    return _network(
        *_conv_norm_relu(channels, c1, k, stride=stride, padding=2, **shared),
        MaxPool2d(3, stride=2),
        *_conv_norm_relu(c1, c2, 5, padding=2, **shared),
        MaxPool2d(3, stride=2),
        *_conv_norm_relu(c2, c3, 3, padding=1, **shared),
        *_conv_norm_relu(c3, c4, 3, padding=1, **shared),
        *_conv_norm_relu(c4, c5, 3, padding=1, **shared),
        MaxPool2d(3, stride=2),
        Flatten(),
        *_linear_norm_relu(pixels * c5, units, **shared),
        *_linear_norm_relu(units, units, **shared),
        Linear(units, classes, **top),
    )


def _left_by_alexnet(size, k, stride):
    """The pixels left of `size` after the first convolution and the three pools."""
    size = output_size(size, k, stride, 2)
    for _ in range(3):
        size = output_size(size, 3, 2, 0)
    return size


def _resnet(stem, channels, blocks, classes, shared, top):
    """A stem, then `blocks` residual blocks for each number of channels, halving the image."""
    layers, C_in = list(stem), channels[0]
    for stage, C_out in enumerate(channels):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            layers += [_residual_block(C_in, C_out, stride, shared), ReLU()]
            C_in = C_out
    last = Linear(C_in, classes, **top | {"init": pytorch_uniform})
    return _network(*layers, GlobalAvgPool(), last)


def _residual_block(C_in, C_out, stride, shared):
    """Two 3 x 3 convolutions; the shortcut is a 1 x 1 convolution where the shape changes.

    The shortcut is a layer with weights like any other, and so has its own B.
    """
    main = Sequential(
        *_conv_norm_relu(C_in, C_out, 3, stride=stride, padding=1, **shared),
        *_conv_norm(C_out, C_out, 3, padding=1, **shared),
    )
    if stride == 1 and C_in == C_out:
        return Residual(main)
    return Residual(main, Sequential(*_conv_norm(C_in, C_out, 1, stride=stride, **shared)))


def _conv_norm(C_in, C_out, k, **options):
    """A convolution without bias, and a BatchNorm."""
    convolution = Conv2d(C_in, C_out, k, bias=False, **options)
    return [convolution, BatchNorm(C_out, options["dtype"])]


def _conv_norm_relu(C_in, C_out, k, **options):
    """A convolution without bias, a BatchNorm and a ReLU, as in AlexNet and the ResNets."""
    return [*_conv_norm(C_in, C_out, k, **options), ReLU()]


def _linear_norm_relu(n_in, n_out, **options):
    """A fully connected layer without bias, a BatchNorm and a ReLU."""
    linear = Linear(n_in, n_out, bias=False, **options)
    return [linear, BatchNorm(n_out, options["dtype"]), ReLU()]


def _shared(feedback, last_feedback, seed, dtype, init=he_normal):
    """The options of all layers with weights but the last, and those of the last one."""
    shared = {"rng": stream(seed, "init"), "feedback": feedback, "dtype": dtype, "init": init}
    return shared, shared | {"feedback": feedback if last_feedback is None else last_feedback}


def _scaled(width, *counts):
    """Numbers of channels or units, multiplied by `width`; at least 1 of each."""
    if not isinstance(width, int | float) or not 0 < width < math.inf:
        raise InputError(f"models: expected a width above 0, found {width!r}")
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"models: expected whole numbers of units from 1, found {count!r}")
    return [max(1, round(width * count)) for count in counts]


def _image(input_shape, smallest=1):
    """input_shape itself; InputError unless it is (height, width, channels), large enough."""
    whole = isinstance(input_shape, tuple | list) and all(isinstance(n, int) for n in input_shape)
    if not whole or len(input_shape) != 3 or min(input_shape) < 1:
        raise InputError(
            f"models: expected input_shape as (height, width, channels), found {input_shape!r}"
        )
    height, across, _ = input_shape
    if min(height, across) < smallest:
        raise InputError(
            f"models: expected images of at least {smallest} x {smallest} pixels, "
            f"found {height} x {across}"
        )
    return tuple(input_shape)


def _network(*layers):
    """A whole network; its first layer with weights sends no error, since none is needed below."""
    network = Sequential(*layers)
    network.send_no_error_below()
    return network
