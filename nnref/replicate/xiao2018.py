"""Xiao, Chen, Liao & Poggio 2018, "Biologically-plausible learning algorithms can scale to large
datasets" (arXiv 1811.03567): with the signs of the weights alone, a network learns ImageNet nearly
as well as by backpropagation; feedback alignment, which learns digits well, hardly does.

    theirs    ResNet-18 and AlexNet on ImageNet, 50 epochs of SGD, momentum 0.9, weight decay 1e-4,
              batch 256, learning rate 0.1, divided by 10 after every 10 epochs; 224 pixels
    ours      below: an MLP on MNIST, a ResNet on CIFAR-10, both their networks on classes of
              Tiny-ImageNet, scaled down, the learning rate chosen for every setting by itself
"""

from functools import partial
from typing import NamedTuple

from nnref import models
from nnref.data.imageset import batches
from nnref.errors import InputError
from nnref.feedback import Backprop, FeedbackAlignment, NoFeedback, SignSymmetry
from nnref.optim import SGD, cosine, step_decay
from nnref.replicate import sources
from nnref.replicate.trials import Parts, Study, by_layer

SETTINGS = {  # name -> (the rule of all layers but the last, the rule of the last)
    "BP": (Backprop(), Backprop()),
    "SS": (SignSymmetry(), SignSymmetry()),
    "SS, BP last": (SignSymmetry(), Backprop()),
    "FA": (FeedbackAlignment(), FeedbackAlignment()),
    "FA, BP last": (FeedbackAlignment(), Backprop()),
    "last layer only": (NoFeedback(), NoFeedback()),  # the baseline
}
MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4  # theirs

MODELS = {
    "mlp": partial(models.mlp, [500, 300]),
    "resnet20": models.resnet20,
    "resnet18": models.resnet18,
    "resnet18-cifar": partial(models.resnet18, stem="cifar"),
    "alexnet": models.alexnet,
}


class Part(NamedTuple):
    """One data set, and what is trained on it."""

    data: str
    models: list
    grid: list  # learning rates to choose from, for every setting by itself
    search: tuple  # training images and epochs of that choice
    epochs: int
    batch_size: int
    seeds: int
    width: float = 1
    images: int | None = None  # held-out ones included; None: all
    classes: int | None = None
    as_published: bool = False  # learning rate 0.1, divided by 10 after every 10 epochs


TIERS = {
    "smoke": [
        Part("digits", ["mlp"], [0.1], (100, 1), 1, 32, 1, 0.1, 200),
        Part("digits", ["resnet20"], [0.02, 0.1], (50, 1), 2, 32, 2, 0.25, 100),
        Part("digits", ["alexnet"], [0.02], (50, 1), 1, 32, 1, 0.06, 100),
    ],
    "small": [
        Part("mnist", ["mlp"], [0.03, 0.1, 0.3, 1.0], (10_000, 2), 5, 128, 3),
        Part("cifar10", ["resnet20"], [0.02, 0.06, 0.2], (5_000, 2), 6, 100, 3, 0.5, 20_000),
        Part(
            "tiny-imagenet", ["resnet18", "alexnet"], [0.01, 0.03, 0.1], (4_000, 2), 8, 64, 1, 0.25,
            classes=20,
        ),
    ],
    "full": [
        Part("mnist", ["mlp"], [0.03, 0.1, 0.3, 1.0], (10_000, 2), 20, 128, 3),
        Part("cifar10", ["resnet18-cifar"], [], (0, 0), 30, 256, 3, as_published=True),
        Part(
            "tiny-imagenet", ["resnet18", "alexnet"], [0.01, 0.03, 0.1], (20_000, 3), 30, 128, 3,
        ),
    ],
}  # fmt: skip
MINUTES = {"smoke": "half a minute", "small": "2 hours on 2 cores", "full": "hours on a GPU"}


def run(study: Study, places: sources.Sources, seeds: int | None = None):
    """Carry out all parts whose images are to be had; seed by seed, so that one is whole early."""
    for part in TIERS[study.tier]:
        try:
            images = sources.load(part.data, places, part.images, part.classes)
        except InputError as error:
            study.left_out(part.data, error)
            continue
        study.facts["data"].append(images.facts)
        for name in part.models:
            rates = {
                setting: _learning_rate(study, part, name, setting, images) for setting in SETTINGS
            }
            for seed in range(seeds or part.seeds):
                for setting, lr in rates.items():
                    facts = _facts(part, name, setting, seed, images) | {"lr": lr}
                    make = partial(_parts, part, name, setting, images, lr, part.epochs, seed)
                    study.trial(facts, make)


def _facts(part, name, setting, seed, images) -> dict:
    """What sets one trial apart."""
    return {
        "data": part.data,
        "model": name,
        "width": part.width,
        "setting": setting,
        "images": len(images.train.labels),
        "epochs": part.epochs,
        "seed": seed,
    }


def _learning_rate(study, part, name, setting, images) -> float:
    """The one with the best validation accuracy after a short training, on fewer images."""
    if part.as_published:
        return 0.1
    if len(part.grid) == 1:
        return part.grid[0]
    count, epochs = part.search

    few = images.fewer(count)._replace(test=None)

    def make(lr):
        return _parts(part, name, setting, few, lr, epochs, 0)._replace(look=None)

    facts = _facts(part, name, setting, 0, few) | {"epochs": epochs}
    return study.best_lr(facts, part.grid, make)


def _parts(part, name, setting, images, lr, epochs, seed) -> Parts:
    feedback, last_feedback = SETTINGS[setting]
    x, _ = next(batches(images.train, 1))
    model = MODELS[name](
        input_shape=x.shape[1:], classes=images.facts["classes"], width=part.width, seed=seed,
        feedback=feedback, last_feedback=last_feedback,
    )  # fmt: skip
    optimizer = SGD(model, lr, MOMENTUM, WEIGHT_DECAY)
    schedule = step_decay(lr, 10) if part.as_published else cosine(lr, epochs)
    return Parts(
        model, optimizer, images.train, images.val, images.test, epochs, part.batch_size, schedule,
        look=by_layer,
    )  # fmt: skip
