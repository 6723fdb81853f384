"""Faster steps of the optimizers: a piece of the parameters goes through a whole step at a time."""

import numpy as np

from nnref.fast import pieces
from nnref.fast.memory import scratch
from nnref.fast.threads import share


def sgd_update(optimizer):
    """SGD.update: decay, momentum and the step itself, a piece of the parameters at a time."""
    momentum, decay, lr = optimizer.momentum, optimizer.weight_decay, optimizer.lr

    def work(param, grad, velocity):
        change = scratch("other", param.shape, param.dtype)
        np.multiply(velocity, momentum, out=velocity)
        np.add(velocity, optimizer.direction(grad), out=velocity)
        if decay:
            np.multiply(param, decay, out=change)
            np.add(velocity, change, out=velocity)
        np.multiply(velocity, lr, out=change)
        np.subtract(param, change, out=param)

    return _for_all_parameters(work, optimizer, optimizer.velocities)


def adam_update(optimizer):
    """Adam.update, a piece of the parameters at a time."""
    beta1, beta2, eps = optimizer.beta1, optimizer.beta2, optimizer.eps
    t = optimizer.t + 1
    lr, correction = optimizer.lr / (1 - beta1**t), 1 - beta2**t

    def work(param, grad, m, v):
        change = scratch("other", param.shape, param.dtype)
        np.multiply(m, beta1, out=m)
        np.multiply(grad, 1 - beta1, out=change)
        np.add(m, change, out=m)
        np.multiply(v, beta2, out=v)
        np.multiply(grad, grad, out=change)
        np.multiply(change, 1 - beta2, out=change)
        np.add(v, change, out=v)
        np.multiply(v, 1 / correction, out=change)
        np.sqrt(change, out=change)
        np.add(change, eps, out=change)
        np.divide(m, change, out=change)
        np.multiply(change, lr, out=change)
        np.subtract(param, change, out=param)

    done = _for_all_parameters(work, optimizer, optimizer.ms, optimizer.vs)
    if done is not NotImplemented:
        optimizer.t = t
    return done


def _for_all_parameters(work, optimizer, *states):
    """Call work(parameter, gradient, *state) on pieces of all, divided among the cores."""
    jobs = []
    for (param, layer, name), *state in zip(optimizer.places, *states, strict=True):
        arrays = [param, layer.grads[name], *state]
        if not all(array.flags.c_contiguous for array in arrays):
            return NotImplemented
        flat = [array.reshape(-1) for array in arrays]
        starts = range(0, flat[0].size, pieces.PIECE)
        jobs += [[a[i : i + pieces.PIECE] for a in flat] for i in starts]

    def run(start, stop, _):
        for job in jobs[start:stop]:
            work(*job)

    share(run, len(jobs))
