"""The transport ledger: how many bits must travel from W to B, at every step and once at birth?

That W's strengths cannot be known elsewhere is the reason why this project exists, so here is the
price of every rule. It is counted for each layer whose B is used (that of the first is not):

    B = W                     32 bits a synapse and step: a float32
    signs of W now            1 bit a synapse and step
    signs of W at birth       1 bit a synapse, once; as with a Law that keeps signs (dale.py), and
                              1 bit a neuron, once, where all synapses of a neuron have its sign
    B random, or none         nothing
    Interneurons (dale.py)    beside that for their net effect, 32 bits for each entry of Q: what
                              they inhibit with brings them their error
    BatchNorm's gamma         32 bits a channel and step, under every rule: an error that passes
                              is multiplied by it. Nobody counts it, and `cut_gains` stops it

Not counted is what is no weight: the errors themselves, which units are active (f'), which pixel
won in a pool, the statistics of a batch. Kolen & Pollack's B needs no weight either, but x and
delta of the synapse that it mirrors.
"""

from typing import NamedTuple

from nnref.errors import InputError
from nnref.feedback import (
    Backprop,
    FeedbackAlignment,
    FixedMagnitudes,
    KolenPollack,
    NoFeedback,
    RedrawnMagnitudes,
    Sham,
    SignedInit,
    SignSymmetry,
)
from nnref.layers import BatchNorm, Linear
from nnref.measure import weight_layers
from nnref.questions.dale import Interneurons, Law
from nnref.questions.pathways import FixedConcordance, Inverted, TrackingConcordance

FLOAT = 32
PRICES = {  # rule -> bits a synapse: at every step, once at birth
    Backprop: (FLOAT, 0),
    Sham: (FLOAT, 0),
    SignSymmetry: (1, 0),
    FixedMagnitudes: (1, 0),
    RedrawnMagnitudes: (1, 0),
    TrackingConcordance: (1, 0),
    SignedInit: (0, 1),
    FixedConcordance: (0, 1),
    FeedbackAlignment: (0, 0),
    KolenPollack: (0, 0),
    NoFeedback: (0, 0),
}
SIGNS = ((1, 0), (0, 1))  # now, at birth


class Entry(NamedTuple):
    """What travels from one layer, in bits."""

    layer: str
    every_step: int
    at_birth: int


def ledger(model, law: Law | None = None) -> list[Entry]:
    """An entry for every layer with weights or gains, bottom first; `law` is that of the model.

    Raises InputError for a feedback rule whose price is not known.
    """
    kept = {id(W): signs for W, signs in law.places} if law else {}
    used = {id(layer) for layer in weight_layers(model) if layer.sends_error}
    entries = []
    for layer in model.walk():
        if isinstance(layer, BatchNorm):
            entries.append(Entry(str(layer), FLOAT * layer.C * layer.sends_gain, 0))
        elif isinstance(layer, Interneurons):
            entries.append(Entry(str(layer), FLOAT * layer.params["Q"].size, 0))
        elif id(layer) in used:
            entries.append(_of_weights(layer, kept.get(id(layer.params["W"]))))
        elif "W" in layer.params:  # the first: nobody needs its error
            entries.append(Entry(str(layer), 0, 0))
    return entries


def total(entries: list[Entry]) -> tuple[int, int]:
    """Bits at every step, and once at birth."""
    return sum(entry.every_step for entry in entries), sum(entry.at_birth for entry in entries)


def cut_gains(model):
    """From now on no BatchNorm of this model sends its gain: errors pass as if it were 1."""
    for layer in model.walk():
        if isinstance(layer, BatchNorm):
            layer.sends_gain = False


def _of_weights(layer, signs) -> Entry:
    """The entry of a layer whose B is used; `signs` are those that a law keeps, or None."""
    rule = layer.feedback.pathway if isinstance(layer.feedback, Inverted) else layer.feedback
    if type(rule) not in PRICES:
        raise InputError(f"ledger: expected a rule of {_names()}, found {type(rule).__name__}")
    price, synapses = PRICES[type(rule)], layer.params["W"].size
    if price in SIGNS and signs is not None:
        of_neurons = bool((signs == signs[..., :1]).all())
        neurons = layer.n_in if isinstance(layer, Linear) else layer.C_in
        return Entry(str(layer), 0, neurons if of_neurons else synapses)
    every_step, at_birth = price
    return Entry(str(layer), every_step * synapses, at_birth * synapses)


def _names() -> str:
    return ", ".join(rule.__name__ for rule in PRICES)
