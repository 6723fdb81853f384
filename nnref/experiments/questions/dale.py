"""What does Dale's law (a neuron keeps its sign for life) do to BP, SS and FA?

A question of ours: nnref/questions/dale.py has the laws, tutorial 7 the mathematics. Every law with
BP, SS and FA, and the ways out for SS where neurons have signs:

    free         no law
    weights      every weight keeps its sign
    neurons      every neuron has one sign; four in five excite ("neurons, half": half of them)
    DANN         all neurons excite, inhibition has its interneurons (Cornford 2021)
"""

from functools import partial
from itertools import product

from nnref import plots
from nnref.experiments.claims import claim, listed
from nnref.experiments.images import TITLES
from nnref.experiments.network import BOTH, DIGITS, FULL, SMALL, NetworkPart, rules_of
from nnref.experiments.numbers import average, equal, spread
from nnref.experiments.plan import Setting
from nnref.experiments.result import Result, Table, words
from nnref.experiments.trial import Parts, usual_training, watch_layers
from nnref.layers.base import WeightLayer
from nnref.questions import dale

PAPER = (
    "Our own question: what does Dale's law do to BP, SS and FA? Each weight keeps its sign; or "
    "each neuron has one sign for all its targets (four in five excite; half: a random half); or "
    "all excite and inhibition goes through interneurons (DANN: Cornford et al. 2021, *Learning to "
    "live with Dale's principle* ([OpenReview](https://openreview.net/forum?id=eU776ZYxEpz)), here "
    "without its divisive half). BP last: B = W in the last layer; frSF: signs of W, random fixed "
    "magnitudes."
)
LAWS = {  # name -> model, seed -> Law
    "free": lambda model, seed: None,
    "weights": lambda model, seed: dale.every_weight(model),
    "neurons": partial(dale.every_neuron, excitatory=0.8),
    "neurons, half": partial(dale.every_neuron, excitatory=0.5),
    "DANN": partial(dale.interneurons, share=0.1),
}
IN_WORDS = {  # law -> its name in the figure, as in tutorial 7
    "free": "no law",
    "weights": "every weight",
    "neurons": "every neuron",
    "neurons, half": "every neuron,\nhalf inhibit",
    "DANN": "interneurons",
}
RULES = "BP", "SS", "FA", "SS, BP last", "frSF", "signed init", "last layer only"
THREE = ("BP", "SS", "FA")
SETTINGS = [
    *product(LAWS, THREE),
    ("weights", "signed init"),
    *product(("free", "neurons", "neurons, half"), ("SS, BP last", "frSF")),
    *product(("free", "neurons"), ("last layer only",)),
]
TIERS = {"smoke": [DIGITS], "small": SMALL, "full": FULL}


def plan(part: NetworkPart):
    """Every law with every rule that is tried under it."""
    for law, rule in SETTINGS:
        yield Setting(part.facts | {"law": law, "rule": rule}, part.rates)


def parts(part: NetworkPart, facts: dict, images) -> Parts:
    """The network of a part, its law acting after every step."""
    model = part.model(images.shape, rules_of(facts["rule"]), facts["seed"])
    law = LAWS[facts["law"]](model, seed=facts["seed"])
    training = usual_training(model, part, facts, images, on_step=law and law.impose)
    kept = [(W.shape, int(signs.sum())) for W, signs in law.places] if law else ()
    return Parts(training, images.test, look=look, also=tuple(kept))


def look(model, x, labels) -> dict:
    """trial.watch_layers, and the share of each layer's weights that are held at zero."""
    return watch_layers(model, x, labels) | {"pinned": [held_at_zero(a) for a in limited(model)]}


def limited(model) -> list[list]:
    """For each layer with weights, what a law limits: its W; with interneurons, their E, P, Q."""
    found = []
    for layer in model.layers:
        if isinstance(layer, dale.Interneurons):
            found.append(list(layer.params.values()))
        elif isinstance(layer, WeightLayer):
            found.append([layer.params["W"]])
    return found


def held_at_zero(arrays) -> float:
    """The share of their entries that a law holds at zero."""
    held = sum(int((abs(array) <= 2 * dale.PIN).sum()) for array in arrays)
    return held / sum(array.size for array in arrays)


def pinned(result: Result, **facts) -> list[float]:
    """The share of weights held at zero in %, mean of all layers but the first, for each seed."""
    return [100 * average(t["history"][-1]["pinned"][1:]) for t in result.finished(**facts)]


def table(result: Result) -> str:
    """Accuracy under every law and rule; how many weights are held at zero."""
    table = Table(17, 15)
    for data in result.values("data"):
        table.headline(result.trials(data=data)[0])
        table.row("", LAWS)
        rules, laws = {rule: {"rule": rule} for rule in RULES}, {law: {"law": law} for law in LAWS}
        table.grid(result, rules, laws, data=data)
        table.lines.append("  % of the weights above the first layer that are held at zero")
        for rule in THREE:
            shares = [pinned(result, data=data, law=law, rule=rule) for law in LAWS]
            table.row(rule, [spread(values) + " " for values in shares])
    return table.text()


def figures(result: Result) -> dict:
    """Accuracy under every law and rule."""
    draw = plots.experiments
    groups = {
        TITLES[data]: {
            words: {rule: result.accuracies(data=data, law=law, rule=rule) for rule in RULES}
            for law, words in IN_WORDS.items()
        }
        for data in result.values("data")
    }
    return {"laws": draw.dots(groups, "test accuracy (%)")} if groups else {}


SETTING = "an MLP on MNIST, a convolutional network with BN on CIFAR-10"


def ours(*settings):
    """Our accuracies under some (law, rule), on both data sets, in words."""
    named = {f"{law}, {rule}": {"law": law, "rule": rule} for law, rule in settings}
    return words(named, BOTH)


def lost(result, data, law, rule):
    """Points that a law costs a rule."""
    free, under = (result.mean(data=data, law=name, rule=rule) for name in ("free", law))
    return free - under


@claim(
    "That every weight keeps its sign costs little",
    SETTING,
    ours(*((law, rule) for rule in THREE for law in ("free", "weights"))),
    published="none in print (the code of Xiao et al. 2018 has the constraint)",
)
def _weights(result):
    for data, points in (("mnist", 2), ("cifar10", 4)):
        for rule in THREE:
            found = lost(result, data, "weights", rule)
            yield f"{data}: {rule} loses at most {points} points", found <= points


@claim(
    "Where every weight keeps its sign, SS needs no transport at all: with the initial signs it is "
    "the same network",
    SETTING,
    ours(("weights", "SS"), ("weights", "signed init")),
)
def _no_transport(result):
    for data in BOTH:
        ss, init = (
            result.accuracies(data=data, law="weights", rule=rule) for rule in ("SS", "signed init")
        )
        yield f"{data}: to the last digit", equal(ss, init)


@claim(
    "Where every neuron has one sign, SS in all layers teaches only the last: B has rank one, and "
    "behind softmax it sends exactly no error",
    SETTING,
    ours(*(("neurons", rule) for rule in ("BP", "SS", "last layer only"))),
)
def _rank_one(result):
    for data in BOTH:
        ss, last_only, bp = (
            result.mean(data=data, law="neurons", rule=rule)
            for rule in ("SS", "last layer only", "BP")
        )
        yield f"{data}: SS within 2 points of the last layer alone", abs(ss - last_only) <= 2
        yield f"{data}: SS at least 5 points below BP", ss <= bp - 5


WAYS_OUT = ("neurons", "SS, BP last"), ("neurons", "frSF"), ("DANN", "SS")


@claim(
    "Three ways out: BP in the last layer, random magnitudes, or interneurons, whose net effect "
    "has a sign for every synapse",
    SETTING,
    ours(*WAYS_OUT),
)
def _ways_out(result):
    for data in BOTH:
        trapped = result.mean(data=data, law="neurons", rule="SS")
        for law, rule in WAYS_OUT:
            condition = f"{data}: {law}, {rule} at least 5 points above SS under the law of neurons"
            yield condition, result.mean(data=data, law=law, rule=rule) >= trapped + 5


@claim(
    "Under BP, a network with interneurons learns as well as one without a law; a sign for every "
    "neuron impairs learning",
    SETTING + "; without divisive inhibition",
    ours(("free", "BP"), ("neurons", "BP"), ("DANN", "BP")),
    published="stated in the abstract of Cornford et al. 2021",
)
def _interneurons(result):
    for data, points in (("mnist", 1), ("cifar10", 3)):
        dann, neurons = (lost(result, data, law, "BP") for law in ("DANN", "neurons"))
        yield f"{data}: DANN within {points} points of no law", dann <= points
        yield f"{data}: the law of neurons costs more", dann < neurons


@claim(
    "The law of neurons hurts FA more than BP, since W can no longer turn toward a B of other "
    "signs, but it still learns",
    SETTING,
    ours(*((law, rule) for rule in ("BP", "FA") for law in ("free", "neurons"))),
)
def _alignment(result):
    for data in BOTH:
        bp, fa = (lost(result, data, "neurons", rule) for rule in ("BP", "FA"))
        yield f"{data}: FA loses more than BP", fa > bp
        aligned, last_only = (
            result.mean(data=data, law="neurons", rule=rule) for rule in ("FA", "last layer only")
        )
        yield f"{data}: FA still above the last layer alone", aligned > last_only


# what the mathematics of tutorial 7 lets us expect, written before anything was measured
claims = listed(_weights, _no_transport, _rank_one, _ways_out, _interneurons, _alignment)
