"""Nokland 2016: the networks of the plan, and the claims in made-up worlds."""

import numpy as np
import pytest
from made_up import all_dots, failing, result, rows, searches, trial, verdicts

from nnref.backend import to_device, to_host
from nnref.experiments.images import Sources, load
from nnref.experiments.papers import nokland2016
from nnref.experiments.result import Result
from nnref.feedback import Backprop, FeedbackAlignment, NoFeedback
from nnref.layers import Sequential, Tanh
from nnref.losses import sigmoid_cross_entropy
from nnref.measure import weight_layers
from nnref.plots.looks import LOOKS
from nnref.rules.direct import Direct, DirectFeedback

WIDE, MIDDLE, NARROW, DEEP = nokland2016.NETWORKS
ALONE = "last layer only"
CLAIMS = (
    "beyond the last layer",
    "almost as good",
    "from zero",
    "fits",
    "turn",
    "five layers",
    "bottleneck",
)


def parts(rule, network=MIDDLE):
    part = nokland2016.TIERS["smoke"][0]
    facts = {"network": network, "rule": rule, "epochs": 1, "seed": 0, "lr": 0.1}
    return nokland2016.parts(part, facts, load("digits", Sources(), 60))


def test_the_small_plan_has_every_rule_where_a_claim_needs_it():
    settings = [
        (s.facts["network"], s.facts["rule"], list(s.curve))
        for part in nokland2016.TIERS["small"]
        for s in nokland2016.plan(part)
    ]
    both = {(network, rule) for network, rule, _ in settings}
    assert len(both) == len(settings) == 5 + 2 * 4 + 4
    assert (WIDE, "DFA from zero") in both and (MIDDLE, "FA") in both and (DEEP, ALONE) in both
    curves = [(network, rule, curve) for network, rule, curve in settings if curve]
    assert curves == [(WIDE, "BP", [2])]  # half of 5 epochs


@pytest.mark.parametrize(
    ("rule", "kind", "feedback"),
    [
        ("BP", Sequential, Backprop),
        ("FA", Sequential, FeedbackAlignment),
        ("DFA", DirectFeedback, Direct),
        ("DFA from zero", DirectFeedback, Direct),
        (ALONE, Sequential, NoFeedback),
    ],
)
def test_a_network_of_tanh_units_under_its_rule(rule, kind, feedback):
    made = parts(rule)
    model = made.training.model
    layers = weight_layers(model)
    assert type(model) is kind and {type(layer.feedback) for layer in layers} == {feedback}
    assert [layer.n_out for layer in layers] == [13] * 5 + [10]  # 0.05 of 256
    assert sum(isinstance(layer, Tanh) for layer in model.layers) == 5
    assert made.training.loss is sigmoid_cross_entropy
    zero = [not to_host(layer.params["W"]).any() for layer in layers]
    assert zero == [rule == "DFA from zero"] * 6


def test_the_initial_weights_are_those_of_every_other_rule():
    bp, dfa = (weight_layers(parts(rule).training.model) for rule in ("BP", "DFA"))
    for a, b in zip(bp, dfa, strict=True):
        assert np.array_equal(to_host(a.params["W"]), to_host(b.params["W"]))


def test_errors_on_training_images_are_counted():
    made = parts("DFA from zero")
    training = made.training
    images = to_device(training.train.images[:20])
    measures = made.look(training.model, images, training.train.labels[:20])
    labels = training.train.labels  # equal outputs: the guess is class 0
    assert measures["training_error"] == pytest.approx(100 * (labels != 0).mean())
    assert len(measures["delta_angle_deg"]) == 6


def entry(angle, training_error, layers):
    return {"delta_angle_deg": [angle] * layers + [0.0], "training_error": training_error}


def of(network, rule, test_error, angle=50.0, training_error=0.0, **facts):
    """A finished trial; at birth delta is at right angles to BP's."""
    layers = len(nokland2016.NETWORKS[network])
    history = [entry(90.0, 90.0, layers), entry(angle, training_error, layers)]
    facts = {"epochs": 4, "width": 1, "data": "mnist"} | facts
    return trial(100 - test_error, network=network, rule=rule, history=history, **facts)


HELD = {  # a world in which every claim holds
    (WIDE, "BP"): {"test_error": 1.8},
    (WIDE, "FA"): {"test_error": 2.0},
    (WIDE, "DFA"): {"test_error": 2.1},
    (WIDE, "DFA from zero"): {"test_error": 2.2},
    (WIDE, ALONE): {"test_error": 8.0},
    (MIDDLE, "BP"): {"test_error": 1.48},
    (MIDDLE, "FA"): {"test_error": 1.85},
    (MIDDLE, "DFA"): {"test_error": 2.75},
    (MIDDLE, ALONE): {"test_error": 20.0},
    (NARROW, "BP"): {"test_error": 3.0},
    (NARROW, "DFA"): {"test_error": 7.0, "angle": 70.0},
    (DEEP, "BP"): {"test_error": 9.0},
    (DEEP, "DFA"): {"test_error": 9.0},
    (DEEP, "DFA from zero"): {"test_error": 9.0},
    (DEEP, ALONE): {"test_error": 40.0, "training_error": 30.0},
}


def world(changes=(), half=0.0):
    """The trials of that world after some changes; BP with half the epochs loses `half` points."""
    facts = {key: HELD[key] | dict(changes).get(key, {}) for key in HELD}
    found = [of(*key, **values) for key, values in facts.items()]
    bp = facts[WIDE, "BP"]["test_error"] + half
    return [*found, of(WIDE, "BP", bp, epochs=2) | {"curve": True}]


def found(changes=(), half=0.0):
    return verdicts(nokland2016, world(changes, half))


def test_a_world_in_which_all_claims_hold():
    assert found() == dict.fromkeys(CLAIMS, "reproduced")


@pytest.mark.parametrize(
    ("name", "key", "change", "verdict"),
    [
        ("beyond the last layer", (WIDE, "DFA"), {"test_error": 4.1}, "partly"),
        ("beyond the last layer", (MIDDLE, "DFA"), {"test_error": 10.1}, "partly"),
        ("beyond the last layer", (MIDDLE, "BP"), {"test_error": 21}, "partly"),
        ("almost as good", (WIDE, "DFA"), {"test_error": 2.4}, "not"),
        ("almost as good", (WIDE, "BP"), {"test_error": 2.2}, "not tested at this scale"),
        ("almost as good", (WIDE, ALONE), {"test_error": 2.0}, "partly"),
        ("from zero", (WIDE, "DFA from zero"), {"test_error": 2.5}, "not"),
        ("from zero", (WIDE, ALONE), {"test_error": 2.1}, "partly"),
        ("fits", (DEEP, "DFA"), {"training_error": 0.2}, "partly"),
        ("fits", (DEEP, "DFA from zero"), {"training_error": 0.2}, "partly"),
        ("fits", (DEEP, "BP"), {"training_error": 0.2}, "not tested at this scale"),
        ("fits", (DEEP, ALONE), {"training_error": 0.5}, "partly"),
        ("turn", (WIDE, "DFA"), {"angle": 80.0}, "partly"),
        ("five layers", (MIDDLE, "DFA"), {"test_error": 2.1}, "partly"),
        ("five layers", (MIDDLE, "FA"), {"test_error": 2.6}, "partly"),
        ("five layers", (MIDDLE, "DFA"), {"test_error": 1.9}, "not"),
        ("five layers", (MIDDLE, "BP"), {"test_error": 2.3}, "not tested at this scale"),
        ("bottleneck", (NARROW, "DFA"), {"angle": 55.0}, "partly"),
        ("bottleneck", (NARROW, "DFA"), {"test_error": 5.0}, "partly"),
        ("bottleneck", (NARROW, "BP"), {"test_error": 9.0, "angle": 0.0}, "partly"),
    ],
)
def test_one_number_that_is_off_changes_the_verdict_of_its_claim(name, key, change, verdict):
    assert found({key: change})[name] == verdict


def test_a_training_too_short_for_bp_does_not_compare():
    assert found(half=4)["almost as good"] == "not tested at this scale"
    assert found(half=2)["almost as good"] == "reproduced"


def test_a_training_that_diverged_has_fitted_nothing():
    trials = [t for t in world() if (t["network"], t["rule"]) != (DEEP, "DFA")]
    trials += [of(DEEP, "DFA", 9.0), of(DEEP, "DFA", 9.0, seed=1) | {"diverged": "", "test": None}]
    assert verdicts(nokland2016, trials)["fits"] == "partly"


def test_what_does_not_hold_is_named():
    claims = nokland2016.claims(result(world({(NARROW, "DFA"): {"test_error": 5.0}})))
    assert failing(claims[-1]) == ["the gap of DFA and BP at least twice as wide"]


def test_a_delta_that_was_never_at_right_angles_has_not_turned():
    trials = world()
    for t in trials:
        t["history"][0]["delta_angle_deg"] = [60.0] * 11
    assert verdicts(nokland2016, trials)["turn"] == "partly"


@pytest.mark.parametrize("record", [None, {"tier": "small", "trials": []}])
def test_what_was_left_out_is_incomplete(record):
    assert {claim.verdict for claim in nokland2016.claims(Result(record))} == {"incomplete"}
    assert nokland2016.figures(Result(record)) == {}


def test_an_angle_that_is_undefined_is_not_measured():
    trials = world({(NARROW, "DFA"): {"angle": None}})
    assert verdicts(nokland2016, trials)["bottleneck"] == "incomplete"
    lines = rows(nokland2016.table(result(trials)))
    start = lines.index(["mnist, 5 x 32, width 1, 90 images, 4 epochs"])
    assert lines[start + 3] == ["DFA", "7.0", "-", "0.0", "-"]


def few():
    return [
        of(MIDDLE, "DFA", 3.0, 40.0, 1.0),
        of(MIDDLE, "DFA", 5.0, 60.0, 2.0, seed=1),
        of(MIDDLE, "BP", 2.0, 0.0),
        *searches(0.01, 0.1, network=MIDDLE, rule="BP"),
    ]


def test_the_table_has_every_mean_in_its_place():
    title, head, dfa, bp, *_ = rows(nokland2016.table(result(few())))
    assert title == ["mnist, 5 x 256, width 1, 90 images, 4 epochs"]
    assert head == ["test", "published", "training", "angle"]
    assert dfa == ["DFA", "4.0 ± 1.4", "2.75", "1.5 ± 0.7", "50"]
    assert bp == ["BP", "2.0*", "1.48", "0.0", "0"]


def test_the_figures_show_every_seed_and_the_published_errors():
    drawn = nokland2016.figures(result(few()))
    (axes,) = drawn["errors"].axes
    color = LOOKS["DFA"].color
    assert all_dots(axes)[MIDDLE, color, True] == pytest.approx([3, 5])
    assert all_dots(axes, stars=True)[MIDDLE, color, True] == [2.75]
    (axes,) = drawn["angles"].axes
    lines = [list(line.get_ydata()) for line in axes.lines if line.get_color() == color]
    assert lines == [[40] * 5, [60] * 5, [50] * 5]
