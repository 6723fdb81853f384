"""A result made up of the published numbers fulfills the claims; with two rules exchanged, not."""

import pytest

from nnref.experiments.papers import akrout2019, bartunov2018, xiao2018

XIAO = {  # accuracies in %, in the order of xiao2018.SETTINGS; FACTS: ImageNet, rerun on CIFAR-10
    ("mnist", "mlp"): (98.0, 98.0, 98.0, 97.5, 97.5, 90.0),
    ("cifar10", "resnet20"): (89.2, 85.1, 86.7, 51.1, 56.8, 40.0),
    ("tiny-imagenet", "resnet18"): (63.86, 62.09, 62.0, 9.48, 12.0, 5.0),
    ("tiny-imagenet", "alexnet"): (50.85, 52.43, 52.0, 11.92, 12.0, 5.0),
}


def trial(accuracy, **facts):
    return facts | {"test": {"accuracy": accuracy / 100}, "epochs": 1, "images": 9, "width": 1}


def of_xiao(exchange=lambda setting: setting, angle=1):
    """A result with the published accuracies; the last three angles fall by `angle` degrees."""
    before, after = [40.0] * 8, [40.0 + angle] * 5 + [40.0 - angle] * 3
    history = [{"weight_angle_deg": before}, {"weight_angle_deg": after}]
    return {
        "trials": [
            trial(accuracy, data=data, model=model, setting=exchange(setting), history=history)
            for (data, model), row in XIAO.items()
            for setting, accuracy in zip(xiao2018.SETTINGS, row, strict=True)
        ]
    }


def verdicts(claims):
    return [claim.verdict for claim in claims]


def test_the_published_numbers_of_xiao_2018_reproduce_it():
    assert set(verdicts(xiao2018.claims(of_xiao()))) == {"reproduced"}


def test_sign_symmetry_and_feedback_alignment_exchanged_do_not():
    other = {"SS": "FA", "FA": "SS", "SS, BP last": "FA, BP last", "FA, BP last": "SS, BP last"}
    claims = xiao2018.claims(of_xiao(lambda setting: other.get(setting, setting), angle=-1))
    assert "reproduced" not in verdicts(claims)
    assert verdicts(claims)[-1] == "not"


def of_bartunov(exchange=lambda rule: rule):
    """Their table; a convolutional network and the last layer alone, which they lack, beside it."""
    more = {
        ("cifar10", "locally connected", "BP"): 32.4,
        ("cifar10", "locally connected", "FA"): 40.0,
        ("mnist", "convolutional", "BP"): 1.0,
        ("mnist", "convolutional", "FA"): 1.2,
        ("cifar10", "convolutional", "BP"): 20.0,
        ("cifar10", "convolutional", "FA"): 40.0,
    }
    more |= {(d, n, "last layer only"): 60 for d in ("mnist", "cifar10") for n in NETWORKS}
    return {
        "trials": [
            trial(100 - error, data=data, network=network, rule=exchange(rule))
            for (data, network, rule), error in (bartunov2018.PUBLISHED | more).items()
        ]
    }


NETWORKS = list(bartunov2018.NETWORKS)


def test_the_published_numbers_of_bartunov_2018_reproduce_it():
    assert set(verdicts(bartunov2018.claims(of_bartunov()))) == {"reproduced"}


def test_feedback_alignment_in_place_of_the_last_layer_alone_does_not():
    other = {"FA": "last layer only", "last layer only": "FA"}
    claims = bartunov2018.claims(of_bartunov(lambda rule: other.get(rule, rule)))
    assert "reproduced" not in verdicts(claims[:2])


def of_akrout(exchange=lambda rule: rule):
    """Their logs, as far as they are published, as one long training of every rule."""
    angles = {1: 42, 10: 26, 400: 35}
    ours = {"BP": (97.1, 98.5), "FA": (93.3, 97.8), "KP": (97.0, 98.47)}

    def entry(epoch, short, long):
        accuracy = short if epoch <= 30 else long
        angle = {"delta_angle_deg": [angles[epoch]]} if epoch in angles else {}
        return {"epoch": epoch, "val_accuracy": accuracy / 100} | angle

    return {
        "trials": [
            {"rule": exchange(rule), "history": [entry(e, *both) for e in range(401)]}
            for rule, both in ours.items()
        ]
    }


def test_the_published_numbers_of_akrout_2019_reproduce_it():
    assert set(verdicts(akrout2019.claims(of_akrout()))) == {"reproduced"}


@pytest.mark.parametrize("pair", ["BP FA", "KP FA"])
def test_two_rules_of_akrout_2019_exchanged_do_not(pair):
    one, two = pair.split()
    other = {one: two, two: one}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(akrout2019, "delta_angle", lambda *_: [])
        claims = akrout2019.claims(of_akrout(lambda rule: other.get(rule, rule)))
    assert "reproduced" not in verdicts(claims[1:2])
