"""Liao et al. 2016: the plan, and the reading of made-up results."""

import pytest
from made_up import all_dots, failing, rows

from nnref.experiments.images import Sources, load
from nnref.experiments.papers import liao2016
from nnref.experiments.result import Result
from nnref.feedback import FixedMagnitudes
from nnref.layers import BatchNorm
from nnref.optim import SGD, BatchManhattan
from nnref.plots.looks import LOOKS

FACTS = {"network": "3-4", "images": 90, "epochs": 2, "lr": 0.1}
DATA = ("mnist", "cifar10")


def made_up(accuracies: dict, searched: dict | None = None) -> Result:
    """A result of accuracies in %, (data, rule, variant) -> one for each seed; None: it diverged.

    searched    (data, rule, variant) -> learning rates that were tried; 0.1 was chosen
    """
    found = {"search": True, "history": [{"held_out_accuracy": 0.5}]}
    trials = [
        {"data": data, "rule": rule, "variant": variant, "lr": lr} | found
        for (data, rule, variant), rates in (searched or {}).items()
        for lr in rates
    ]
    for (data, rule, variant), values in accuracies.items():
        for seed, value in enumerate(values):
            outcome = {"diverged": ""} if value is None else {"test": {"accuracy": value / 100}}
            facts = {"data": data, "rule": rule, "variant": variant, "seed": seed}
            trials.append(FACTS | facts | outcome)
    return Result({"data": [], "trials": trials})


def test_every_variant_chooses_among_its_own_rates_and_partial_signs_have_batchnorm_alone():
    settings = list(liao2016.plan(liao2016.TIERS["small"][1]))
    facts = [(s.facts["data"], s.facts["network"]) for s in settings]
    assert set(facts) == {("cifar10", "16-32-64")}
    variants = {}
    for setting in settings:
        rule, variant = setting.facts["rule"], setting.facts["variant"]
        variants.setdefault(rule, []).append(variant)
        assert setting.rates == liao2016.WIDE[variant]
    assert len(settings) == 6 * 4 + 4
    assert variants["FA"] == ["SGD", "BM", "BN", "BN + BM"]
    assert variants["p = 0.75"] == variants["last layer only"] == ["BN"]


@pytest.mark.parametrize(
    ("variant", "norms", "optimizer"),
    [("SGD", 0, SGD), ("BM", 0, BatchManhattan), ("BN", 3, SGD), ("BN + BM", 3, BatchManhattan)],
)
def test_a_variant_has_a_norm_for_every_hidden_layer_and_an_optimizer(variant, norms, optimizer):
    part = liao2016.TIERS["smoke"][0]
    facts = {"rule": "frSF", "variant": variant, "epochs": 1, "seed": 0, "lr": 0.25}
    training = liao2016.parts(part, facts, load("digits", Sources(), 60)).training
    layers = list(training.model.walk())
    assert sum(isinstance(layer, BatchNorm) for layer in layers) == norms
    assert type(training.optimizer) is optimizer
    assert (training.optimizer.lr, training.optimizer.momentum) == (0.25, 0.9)
    rules = [layer.feedback for layer in layers if "W" in getattr(layer, "params", {})]
    assert {type(rule) for rule in rules} == {FixedMagnitudes}


def test_the_table_has_means_spreads_and_stars_in_their_places():
    bp, frsf, p, last = (
        ("mnist", "BP", "SGD"),
        ("mnist", "frSF", "BN + BM"),
        ("mnist", "p = 0.75", "BN"),
        ("mnist", "last layer only", "BN"),
    )
    result = made_up(
        {bp: [90, 92, 94], frsf: [60, None], p: [71], last: [40, 40]},
        {bp: [0.1, 0.5], p: [0.01, 0.1, 0.5]},
    )
    table = liao2016.table(result)
    assert table.startswith("mnist, 3-4, 90 images, 2 epochs\n")
    expected = {rule: ["-"] * 4 for rule in liao2016.FEEDBACK}
    expected["BP"][0] = "92.0 ± 2.0*"
    expected["frSF"][3] = "30.0 ± 42.4~"  # 60 and 0: 30 ± 30 sqrt(2)
    expected["p = 0.75"][2] = "71.0"
    expected["last layer only"][2] = "40.0 ± 0.0"
    head, *lines = rows(table)[1:-4]
    assert head == ["SGD", "BM", "BN", "BN + BM"]
    assert {name: cells for name, *cells in lines} == expected


def test_a_dot_of_the_figure_is_an_accuracy_in_its_panel_row_and_color():
    result = made_up(
        {
            ("mnist", "uSF", "BM"): [81, 83],
            ("mnist", "uSF, bare", "BM"): [70],
            ("cifar10", "FA", "BN + BM"): [33],
        }
    )
    mnist, cifar = liao2016.figures(result)["rules"].axes
    assert (mnist.get_title(), cifar.get_title()) == ("MNIST", "CIFAR-10")
    assert mnist.get_xlabel() == "test accuracy (%)"
    usf, fa = LOOKS["uSF"].color, LOOKS["FA"].color
    assert all_dots(mnist) == {("BM", usf, True): [81, 83], ("BM", usf, False): [70]}
    assert all_dots(cifar) == {("BN + BM", fa, True): [33]}


def test_the_lines_over_the_concordance_are_means_with_batchnorm():
    values = {"uSF": [96, 98], "p = 0.9": [90], "p = 0.75": [80], "p = 0.5": [60], "FA": [70]}
    accuracies = {("mnist", rule, "BN"): found for rule, found in values.items()}
    other = {("mnist", rule, "SGD"): [1] for rule in ("uSF", "FA", "BP")}
    (axes,) = liao2016.figures(made_up(accuracies | other))["concordance"].axes
    lines = {
        line.get_label(): dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in axes.lines
    }
    assert lines["a share p\nof W's signs"] == {1: 97, 0.9: 90, 0.75: 80, 0.5: 60}
    assert lines["FA"] == {0.5: 70, 1: 70}
    assert lines["BP"] == {}
    assert axes.get_ylabel() == "test accuracy on MNIST (%)"


def test_nothing_is_drawn_of_nothing():
    assert liao2016.figures(Result(None)) == {}


def as_claimed() -> dict:
    """Accuracies of which every claim holds."""
    found = {}
    for data in DATA:
        for rule in ("BP", *liao2016.ASYMMETRIC):
            found |= {(data, rule, "SGD"): [85], (data, rule, "BN + BM"): [94.5]}
        found |= {(data, "BP", "SGD"): [95], (data, "BP", "BN + BM"): [95]}
        signs = zip(("uSF", *liao2016.PARTIAL), (95, 90, 80, 60), strict=True)
        found |= {(data, rule, "BN"): [accuracy - 0.1, accuracy + 0.1] for rule, accuracy in signs}
        found |= {(data, rule, "BN"): [94.6] for rule in ("BP", "frSF", "brSF")}
    return found


def verdicts(accuracies: dict) -> dict:
    return {claim.name: claim.verdict for claim in liao2016.claims(made_up(accuracies))}


def test_every_claim_is_reproduced_by_a_result_that_agrees_with_it():
    assert verdicts(as_claimed()) == dict.fromkeys(
        ("magnitudes", "magnitudes with BN", "signs", "indispensable"), "reproduced"
    )


def test_a_rule_too_far_behind_bp_in_one_task_makes_a_claim_partly():
    assert verdicts(as_claimed() | {("mnist", "brSF", "BN + BM"): [93.9]})["magnitudes"] == "partly"
    allowed = as_claimed() | {("cifar10", "brSF", "BN + BM"): [92]}  # 3 points there
    assert verdicts(allowed)["magnitudes"] == "reproduced"


def test_with_batchnorm_alone_every_rule_is_a_condition_of_its_own():
    behind = as_claimed() | {("mnist", "brSF", "BN"): [93.5], ("cifar10", "frSF", "BN"): [91.5]}
    found = {claim.name: claim for claim in liao2016.claims(made_up(behind))}
    assert failing(found["magnitudes with BN"]) == [
        "MNIST: brSF at most 1.0 points below BP", "CIFAR-10: frSF at most 3.0 points below BP",
    ]  # fmt: skip


def test_more_signs_have_to_be_better_at_every_step_beyond_the_spread():
    near = as_claimed() | {("mnist", "p = 0.75", "BN"): [89.7, 89.9]}
    claim = next(c for c in liao2016.claims(made_up(near)) if c.name == "signs")
    assert failing(claim) == ["MNIST: p = 0.9 above p = 0.75, beyond the spread of the seeds"]
    assert claim.verdict == "partly"
    alike = {(data, rule, "BN"): [90, 91] for data in DATA for rule in liao2016.PARTIAL}
    alike |= {(data, "uSF", "BN"): [90, 91] for data in DATA}
    assert verdicts(as_claimed() | alike)["signs"] == "not"


def test_without_both_a_rule_that_is_as_good_as_bp_says_they_are_dispensable():
    good = {(data, rule, "SGD"): [95] for data in DATA for rule in liao2016.ASYMMETRIC}
    assert verdicts(as_claimed() | good)["indispensable"] == "not"


@pytest.mark.parametrize(
    ("data", "variant", "accuracy", "words"),
    [
        ("cifar10", "SGD", 90.1, "frSF: at least 5 points behind BP without both, "),
        ("cifar10", "BN + BM", 84.9, "frSF: at least 5 points behind BP without both, "),
        ("mnist", "SGD", 94.1, "MNIST: each at least 1 point behind BP without both"),
    ],
)
def test_one_rule_that_is_not_as_claimed_fails_its_own_condition(data, variant, accuracy, words):
    result = made_up(as_claimed() | {(data, "frSF", variant): [accuracy]})
    (failed,) = failing(liao2016.claims(result)[3])
    assert failed.startswith(words)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("magnitudes", ("cifar10", "frSF", "BN + BM")),
        ("signs", ("mnist", "p = 0.5", "BN")),
        ("indispensable", ("mnist", "brSF", "SGD")),
    ],
)
def test_a_claim_is_incomplete_where_one_of_its_settings_is_missing(name, setting):
    missing = {key: values for key, values in as_claimed().items() if key != setting}
    assert verdicts(missing)[name] == "incomplete"


def test_a_claim_gives_our_number_with_its_seeds():
    found = {claim.name: claim.ours for claim in liao2016.claims(made_up(as_claimed()))}
    assert "p = 0.9 BN 90.0 ± 0.1 (2)" in found["signs"]
    assert found["magnitudes"].startswith("MNIST BP BN + BM 95.0 (1), uSF BN + BM 94.5 (1)")
