"""A small trial for tests: noise with a bright quarter, which a small network learns at once."""

import numpy as np

from nnref import models
from nnref.data.imageset import ImageSet
from nnref.experiments.trial import Parts, watch_layers
from nnref.optim import SGD
from nnref.train import Training

FACTS = {"rule": "BP", "seed": 0}


def images(count, seed=0):
    """Random images of 4 x 4 pixels whose brightest quarter is their class."""
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(count, 4, 4, 1)).astype("float32"), rng.integers(0, 4, count)
    for image, label in zip(x, labels, strict=True):
        image[label] += 2
    return ImageSet(x, labels)


def parts(lr=0.05, epochs=3, look=watch_layers, hidden=8, momentum=0.9, train=None, **options):
    """The parts of a small training, or of one that differs from it in what is given."""
    model = models.mlp([hidden], (4, 4, 1), 4)
    fields = {"epochs": epochs, "batch_size": 8} | options
    training = Training(
        model, SGD(model, lr, momentum), train or images(64), images(20, 1), **fields
    )
    return Parts(training, images(40, 2), look)
