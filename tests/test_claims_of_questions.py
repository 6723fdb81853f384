"""A made-up world in which the predictions hold fulfills their claims; another one does not."""

import pytest

from nnref.experiments.questions import concordance, dale, late_error, transport
from nnref.questions.late import Clock, overlap

DATA = ("mnist", "cifar10")


def trial(accuracy, seed=0, **facts):
    return facts | {"seed": seed, "test": {"accuracy": accuracy / 100}}


def verdicts(module, trials):
    return {claim.verdict for claim in module.claims({"tier": "small", "trials": trials})}


TRACKING = {1: 90, 0.9: 85, 0.75: 80, 0.5: 50, 0.25: 30, 0.1: 20, 0: 10}
FIXED = {1: 88, 0.9: 86, 0.75: 84, 0.5: 80, 0.25: 76, 0.1: 72, 0: 70}


def of_concordance(tracking=TRACKING, fixed=FIXED, turned=100.0):
    """`turned` is the angle at which fixed pathways end, from 142 at birth."""

    def history(kind):
        angles = {"weight_angle_deg": [0, 142.0], "predicted_angle_deg": [0, 142.0]}
        if kind == "fixed":
            return [angles, angles | {"weight_angle_deg": [0, turned]}]
        return [angles, angles]

    found = []
    for data in DATA:
        for level, accuracy in {"BP": 92, "SS": tracking[1], "last layer only": 40}.items():
            found.append(trial(accuracy, data=data, kind=level, p=None, last="all"))
        for kind, by_p in {"tracking": tracking, "fixed": fixed}.items():
            for p, accuracy in by_p.items():
                mirrored = by_p[round(1 - p, 6)]
                for last in ("all", "BP last"):
                    more = 40 if last == "BP last" and kind == "tracking" else 0
                    facts = {"data": data, "p": p, "last": last, "history": history(kind)}
                    found.append(trial(accuracy + more, kind=kind, **facts))
                    found.append(trial(mirrored, kind=f"{kind}, inverted", **facts))
    return found


def test_pathways_as_predicted_fulfill_every_claim_and_exchanged_none_of_the_main_ones():
    assert verdicts(concordance, of_concordance()) == {"reproduced"}
    claims = concordance.claims({"trials": of_concordance(FIXED, TRACKING, turned=142.0)})
    by_text = {claim.text[:30]: claim.verdict for claim in claims}
    assert by_text["At one and the same p, a B tha"] == "not"
    assert by_text["Where B tracks the signs of W,"] == "partly"  # it falls, but teaches still


def of_dale(mute="neurons"):
    """`mute` is the law under which SS sends nothing."""
    accuracies = {rule: dict.fromkeys(dale.LAWS, 80) for rule in dale.RULES}
    accuracies["last layer only"] = {"free": 40, "neurons": 35}
    accuracies["SS"][mute] = 35
    for rule, accuracy in {"SS, BP last": 60, "frSF": 60, "BP": 76, "FA": 60}.items():
        accuracies[rule]["neurons"] = accuracy
    return [
        trial(accuracies[rule][law], data=data, law=law, rule=rule)
        for data in DATA
        for law, rule in dale.SETTINGS
    ]


def test_laws_as_predicted_fulfill_every_claim_and_a_mute_dann_does_not():
    assert verdicts(dale, of_dale()) == {"reproduced"}
    _, _, trap, ways_out, cornford, _ = dale.claims({"trials": of_dale(mute="DANN")})
    assert (trap.verdict, ways_out.verdict) == ("not", "not")
    assert cornford.verdict == "reproduced"  # of BP alone
    weights, no_transport, *_ = dale.claims({"trials": of_dale(mute="weights")})
    assert (weights.verdict, no_transport.verdict) == ("partly", "not")


def of_transport(cost):
    """`cost` of the cut in points, by rule."""
    return [
        trial(80 - (gain == "cut") * cost[rule], data=data, rule=rule, gain=gain)
        for data in DATA
        for rule, gain in transport.SETTINGS
    ]


def test_a_cut_that_costs_as_predicted_fulfills_both_claims_and_one_that_hurts_does_not():
    cost = {"BP": 3, "SS": 0.5, "FA": 0.5, "last layer only": 0}
    assert verdicts(transport, of_transport(cost)) == {"reproduced"}
    assert verdicts(transport, of_transport(cost | {"BP": 3, "SS": 9, "FA": 9})) == {"not"}


def of_late(strength, accuracy):
    """From a function of a clock each."""
    part, found = late_error.TIERS["small"][0], []
    for rule in late_error.RULES:
        entries = [
            {"delay": d, "trace": t, "images": [strength(Clock(10, d, 0, t))] * 3}
            | {"all": [strength(Clock(10, d, 0, t))] * 3, "predicted": 0}
            for d in part.delays
            for t in (0, 10)
        ]
        found.append({"task": "strength", "rule": rule, "seed": 0, "history": entries})
        for clock in late_error.clocks(part):
            found.append(trial(accuracy(clock), rule=rule, data="mnist", **clock._asdict()))
    return found


def test_late_errors_as_predicted_fulfill_every_claim_and_no_effect_of_time_none():
    def learned(clock):
        return 10 + 80 * overlap(clock) ** 0.08 if overlap(clock) > 1e-9 else 10

    assert verdicts(late_error, of_late(overlap, learned)) == {"reproduced"}
    found = late_error.claims({"trials": of_late(lambda clock: 1.0, lambda clock: 90.0)})
    assert [claim.verdict for claim in found] == [
        "not",
        "partly",
        "reproduced",
        "not",
        "reproduced",
    ]


@pytest.mark.parametrize("module", [concordance, dale, late_error, transport])
def test_what_was_left_out_is_not_run_yet(module):
    assert {claim.verdict for claim in module.claims({"trials": []})} == {"not run yet"}
