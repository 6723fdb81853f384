"""The transport ledger: the bits that must travel from W to B, at every step and once "at birth".

In a brain the strengths in W are not known elsewhere, so the information that a rule needs about W
is its price. It is counted for each layer whose B is used (that of the first is not). "At birth"
means when the initial weights are drawn.

    B = W                     32 bits per synapse and step: a float32
    signs of W now            1 bit per synapse and step; under a Law that keeps signs (dale.py)
                              once, and 1 bit per neuron, once, if all its synapses have one sign
    signs of W at birth       1 bit per synapse, once: those from before a Law
    rms of W now              32 bits per layer and step, for a lambda that follows it
    B random, or none         nothing
    B an inverse (targets.py) nothing: it learns from activities; in DTP the last layer has B = W
    Interneurons (dale.py)    besides the price of their net effect, 32 bits for each entry of Q,
                              since the weights by which they inhibit carry their error too
    BatchNorm's gamma         32 bits per channel and step, under every rule, since the error is
                              multiplied by it. It is rarely counted; `cut_gains` stops it

Only weights are counted: not the errors themselves, which units are active (f'), which pixel is the
largest in a pool, or the statistics of a batch. Kolen & Pollack's B needs no weight either, but x
and delta of the synapse that it mirrors; a mirror's needs x and y. Of the alignment losses
(rules/mirror.py), `self` needs W, and `sparse` needs B where x is: 32 bits each.
"""

from typing import NamedTuple

from nnref.errors import InputError
from nnref.layers import BatchNorm, Linear
from nnref.measure import weight_layers
from nnref.questions.dale import Interneurons, Law
from nnref.questions.pathways import FixedConcordance, Inverted, TrackingConcordance
from nnref.rules.inverse import AugmentedInverse
from nnref.rules.known import KNOWN
from nnref.rules.mirror import Alignment

FLOAT = 32
PRICES = {  # class of a rule -> bits per synapse: at every step, once at the start
    **{type(known.rule): known.bits for known in KNOWN.values()},
    AugmentedInverse: (0, 0),
    TrackingConcordance: (1, 0),
    FixedConcordance: (0, 1),
}
SIGNS_NOW = (1, 0)


class Entry(NamedTuple):
    """The bits that travel from one layer."""

    layer: str
    every_step: int
    at_birth: int


def ledger(model, law: Law | None = None) -> list[Entry]:
    """An entry for every layer with weights or gains, bottom first; `law` is the model's.

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
        elif "W" in layer.params:  # the first layer: no error is needed below it
            entries.append(Entry(str(layer), 0, 0))
    return entries


def total(entries: list[Entry]) -> tuple[int, int]:
    """Bits at every step, and once at birth."""
    return sum(entry.every_step for entry in entries), sum(entry.at_birth for entry in entries)


def cut_gains(model):
    """Make every BatchNorm of this model pass errors as if its gain were 1, from now on."""
    for layer in model.walk():
        if isinstance(layer, BatchNorm):
            layer.sends_gain = False


def _of_weights(layer, signs) -> Entry:
    """The entry of a layer whose B is used; `signs` are those that a law keeps, or None."""
    rule = layer.feedback.pathway if isinstance(layer.feedback, Inverted) else layer.feedback
    if type(rule) not in PRICES:
        raise InputError(f"ledger: expected a rule of {_names()}, found {type(rule).__name__}")
    price, synapses = PRICES[type(rule)], layer.params["W"].size
    if isinstance(rule, Alignment):
        price = (0 if rule.local else FLOAT, 0)
    scale = FLOAT * (getattr(rule, "scale", None) == "rms")
    if price == SIGNS_NOW and signs is not None:  # the rule follows signs that stand still
        of_neurons = bool((signs == signs[..., :1]).all())
        neurons = layer.n_in if isinstance(layer, Linear) else layer.C_in
        return Entry(str(layer), scale, neurons if of_neurons else synapses)
    every_step, at_birth = price
    return Entry(str(layer), every_step * synapses + scale, at_birth * synapses)


def _names() -> str:
    return ", ".join(rule.__name__ for rule in PRICES)
