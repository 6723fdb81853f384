"""Loss functions, with the delta = dE/d(output) that starts the backward pass.

Each returns (loss, delta): the mean over the N samples of a batch, and its gradient (N, n_out).
"""

from nnref.backend import accelerated, to_device, xp
from nnref.errors import InputError
from nnref.layers.checks import check_array, check_labels


@accelerated
def softmax_cross_entropy(logits, labels):
    """E = -mean_n log softmax(logits_n)[label_n], in nats; delta = (softmax - one_hot) / N.

    logits (N, classes) on the device; labels (N,), integers from 0 to classes - 1, on the host.
    Raises InputError for labels of another kind. Each row of delta sums to zero.
    """
    check_logits("logits", logits)
    N, classes = logits.shape
    check_labels(labels, N, classes)
    here = (xp.arange(N), to_device(labels))  # the place of each sample's own label
    shifted = logits - logits.max(axis=1, keepdims=True)  # exp of large numbers overflows
    exps = xp.exp(shifted)
    sums = exps.sum(axis=1, keepdims=True)
    loss = (xp.log(sums[:, 0]) - shifted[here]).mean()
    delta = exps / sums
    delta[here] -= 1
    return loss, delta / N


def mean_squared_error(output, target):
    """E = mean_n 1/2 sum_j (output_nj - target_nj)^2; delta = (output - target) / N.

    output and target (N, n_out), on the device. Raises InputError if shapes or dtypes differ.
    """
    check_array("mean_squared_error", output, target)
    check_logits("output", output)
    if output.shape != target.shape or output.dtype != target.dtype:
        raise InputError(
            f"mean_squared_error: expected target of shape {output.shape} and dtype "
            f"{output.dtype}, found {target.shape} and {target.dtype}"
        )
    difference = output - target
    return 0.5 * (difference**2).sum(axis=1).mean(), difference / len(output)


def sigmoid_cross_entropy(logits, labels):
    """Binary cross-entropy of each class, E = -mean_n sum_j log p_nj; delta = (s - one_hot) / N.

    s = sigmoid(logits); p = s at the label, 1 - s elsewhere; in nats. Shapes and errors as in
    softmax_cross_entropy.
    """
    targets = one_hot(logits, labels)
    # log(1 + exp(a)) = max(a, 0) + log(1 + exp(-|a|)), written so that exp cannot overflow
    losses = xp.maximum(logits, 0) - targets * logits + xp.log1p(xp.exp(-abs(logits)))
    yes = 0.5 + 0.5 * xp.tanh(0.5 * logits)
    return losses.sum(axis=1).mean(), (yes - targets) / len(logits)


def squared_error(output, labels):
    """`mean_squared_error` between outputs (N, classes) and one-hot labels (N,)."""
    return mean_squared_error(output, one_hot(output, labels))


def one_hot(output, labels):
    """(N, classes): 1 at each sample's own label, 0 elsewhere; the shape and dtype of `output`."""
    check_logits("logits", output)
    check_labels(labels, *output.shape)
    targets = xp.zeros_like(output)
    targets[xp.arange(len(output)), to_device(labels)] = 1
    return targets


def check_logits(what, logits):
    """Raise InputError unless these are an array (N, n_out) of one sample or more."""
    check_array(what, logits)
    if logits.ndim != 2 or 0 in logits.shape:
        raise InputError(f"{what}: expected shape (N, n_out), found {logits.shape}")
