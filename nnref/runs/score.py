"""The test of a finished run: accuracy, confusion matrix, worst mistakes, first filters."""

import numpy as np

from nnref import measure
from nnref.backend import to_host
from nnref.data.imageset import ImageSet, collect
from nnref.layers import Conv2d, Linear
from nnref.train import outputs_of

MISTAKES = 24  # to show


def score(model, data: ImageSet) -> tuple[dict, list]:
    """Loss, accuracy and confusion matrix on these images; and the mistakes of largest loss.

    A mistake is (image, true label, predicted label, probability of the true label). Damaged images
    that are skipped do not count.
    """
    pairs = [(to_host(logits), labels) for logits, labels in outputs_of(model, data)]
    logits, labels = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    logits, labels = logits.astype("float64"), labels.astype("int64")
    shifted = logits - logits.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    classes = probabilities.shape[1]
    counts = np.bincount(labels * classes + predicted, minlength=classes**2)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-losses[wrong], kind="stable")][:MISTAKES]
    places = range(len(data.labels))
    if len(labels) < len(data.labels):
        places = [place for place in places if data.images[place] is not None]
    mistakes = [
        (
            collect(data, (0, 0), [places[i]])[0][0], int(labels[i]), int(predicted[i]),
            float(np.exp(-losses[i])),
        )
        for i in worst
    ]  # fmt: skip
    found = {
        "loss": float(losses.mean()),
        "accuracy": float((predicted == labels).mean()),
        "confusion": counts.reshape(classes, classes).tolist(),  # rows: the true class
    }
    return found, mistakes


def filters(model, data: ImageSet):
    """The weights of the first layer as pictures (count, H, W, C).

    None unless it is a Conv2d or a Linear layer.
    """
    layer = measure.weight_layers(model)[0]
    W = to_host(layer.params["W"])
    if isinstance(layer, Conv2d):
        shape = (layer.k, layer.k, layer.C_in)
    elif isinstance(layer, Linear):
        shape = collect(data, (0, 0), [0])[0].shape[1:]
    else:
        return None
    return W.T.reshape(-1, *shape)
