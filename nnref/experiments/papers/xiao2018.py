"""Xiao, Chen, Liao & Poggio 2018, "Biologically-plausible learning algorithms can scale to large
datasets" (arXiv 1811.03567): with the signs of the weights alone, a network learns ImageNet nearly
as well as by backpropagation; feedback alignment, which learns digits well, hardly does.

    theirs    ResNet-18 and AlexNet on ImageNet, 50 epochs (recalled) of SGD, momentum 0.9, weight
              decay 1e-4, batch 256, 224 pixels, learning rate 0.1, divided by 10 every 10 epochs
    ours      below: an MLP on MNIST, a ResNet on CIFAR-10, both their networks on classes of
              Tiny-ImageNet, scaled down, with smaller batches; the learning rate, chosen for every
              setting by itself, falls along a cosine
"""

from collections.abc import Callable
from functools import partial
from statistics import mean
from typing import NamedTuple

from matplotlib.figure import Figure

from nnref import models
from nnref.data.imageset import batches
from nnref.experiments import images as sources
from nnref.experiments.result import Claim, accuracies, at_edge, average, chosen, holds, measured
from nnref.experiments.study import Parts, Study, by_layer, spread
from nnref.feedback import Backprop, FeedbackAlignment, NoFeedback, SignSymmetry
from nnref.optim import SGD, cosine, step_decay
from nnref.plots import experiments as draw

PAPER = (
    "Xiao, Chen, Liao & Poggio 2018, *Biologically-plausible learning algorithms can scale to "
    "large datasets* ([arXiv 1811.03567](https://arxiv.org/abs/1811.03567)): with the signs of the "
    "weights alone a network learns ImageNet nearly as well as by backpropagation."
)
SETTINGS = {  # name -> (the rule of all layers but the last, the rule of the last)
    "BP": (Backprop(), Backprop()),
    "SS": (SignSymmetry(), SignSymmetry()),
    "SS, BP last": (SignSymmetry(), Backprop()),
    "FA": (FeedbackAlignment(), FeedbackAlignment()),
    "FA, BP last": (FeedbackAlignment(), Backprop()),
    "last layer only": (NoFeedback(), NoFeedback()),  # the baseline
}
MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4  # theirs

MODELS = {
    "mlp": partial(models.mlp, [500, 300]),
    "resnet20": models.resnet20,
    "resnet18": models.resnet18,
    "resnet18-cifar": partial(models.resnet18, stem="cifar"),
    "alexnet": models.alexnet,
}


RATES = {  # to choose from, for every setting by itself
    "mlp": [0.03, 0.1, 0.3, 1.0],
    "resnet20": [0.02, 0.06, 0.2, 0.6],
    "resnet18": [0.01, 0.03, 0.1, 0.3],
    "resnet18-cifar": [0.1],  # as published
    "alexnet": [0.0003, 0.001, 0.003, 0.01, 0.03],
}


class Part(NamedTuple):
    """One data set, and what is trained on it."""

    data: str
    models: list
    search: tuple  # training images and epochs that the choice of a learning rate takes
    epochs: int
    batch_size: int
    seeds: int
    width: float = 1
    take: tuple = ()  # how many images, of how many classes (sources.load); all
    rates: dict = RATES
    schedule: Callable = cosine  # (learning rate, epochs) -> epoch -> learning rate


def as_published(lr, epochs):
    """Divided by 10 after every 10 epochs."""
    return step_decay(lr, 10)


IMAGENET = ["resnet18", "alexnet"]
TIERS = {
    "smoke": [
        Part("digits", ["mlp"], (50, 1), 2, 16, 2, 0.1, (100,), {"mlp": [0.03, 0.1]}),
        Part("digits", ["alexnet"], (0, 0), 1, 16, 1, 0.04, (50,), {"alexnet": [0.02]}),
    ],
    "small": [
        Part("mnist", ["mlp"], (60_000, 5), 5, 128, 3),
        Part("cifar10", ["resnet20"], (5_000, 2), 6, 100, 1, 0.5, (22_500,)),
        Part("tiny-imagenet", IMAGENET, (10_000, 3), 8, 64, 1, 0.25, (None, 20)),
    ],
    "full": [
        Part("mnist", ["mlp"], (60_000, 5), 20, 128, 3),
        Part("cifar10", ["resnet18-cifar"], (0, 0), 30, 256, 3, schedule=as_published),
        Part("tiny-imagenet", IMAGENET, (20_000, 3), 30, 128, 3),
    ],
}
MINUTES = {
    "smoke": "a few seconds",
    "small": "two to three hours on 2 cores, from one seed",
    "full": "hours on a GPU",
}


def run(study: Study, places: sources.Sources, seeds: int | None = None):
    """Train every network of every part under the five settings and the baseline."""
    for part, images in sources.each(study, TIERS[study.tier], places):
        for name in part.models:
            fixed = {"data": part.data, "model": name, "width": part.width}
            settings = [
                (
                    fixed | {"setting": setting},
                    part.rates[name],
                    partial(_parts, part, name, setting),
                )
                for setting in SETTINGS
            ]
            study.compare(settings, images, part.search, part.epochs, seeds or part.seeds)


def _parts(part, name, setting, images, lr, epochs, seed) -> Parts:
    feedback, last_feedback = SETTINGS[setting]
    x, _ = next(batches(images.train, 1))
    model = MODELS[name](
        input_shape=x.shape[1:], classes=images.facts["classes"], width=part.width, seed=seed,
        feedback=feedback, last_feedback=last_feedback,
    )  # fmt: skip
    return Parts(
        model, SGD(model, lr, MOMENTUM, WEIGHT_DECAY), images.train, images.val, images.test,
        epochs, part.batch_size, part.schedule(lr, epochs), look=by_layer,
    )  # fmt: skip


def networks(result) -> list[tuple[str, str]]:
    """(data, model) of all that was trained to the end, easiest first."""
    return list(dict.fromkeys((t["data"], t["model"]) for t in chosen(result)))


def table(result: dict) -> str:
    """Test accuracies under every setting, and the learning rate that each chose."""
    lines = []
    for data, model in networks(result):
        first = chosen(result, data=data, model=model)[0]
        lines.append(
            f"{data}, {model} of width {first['width']}, {first['images']} images, "
            f"{first['epochs']} epochs"
        )
        lines.append(f"  {'':<17}{'seeds':>5}{'top 1':>13}{'top 5':>13}{'learning rate':>15}")
        for setting in SETTINGS:
            found = chosen(result, data=data, model=model, setting=setting)
            rate = found[0]["lr"] if found else "-"
            edge = found and at_edge(result, found[0], "data", "model", "setting")
            lines.append(
                f"  {setting:<17}{len(found):>5}{spread(accuracies(found)):>13}"
                f"{spread(accuracies(found, 'top5')):>13}{rate:>15}{'*' if edge else ''}"
            )
        classes = next(d["classes"] for d in result["data"] if d["name"].startswith(data))
        lines.append(f"  {'a guess':<22}{100 / classes:>13.1f}{500 / classes:>13.1f}")
    lines.append("test accuracy in %, mean ± standard deviation over the seeds")
    return "\n".join([*lines, "*: the smallest or largest learning rate that was tried"])


TITLES = {
    "mlp": "MLP, {data}",
    "resnet20": "ResNet-20, {data}",
    "resnet18": "ResNet-18, {data}",
    "resnet18-cifar": "ResNet-18, {data}",
    "alexnet": "AlexNet, {data}",
}


def _title(data, model) -> str:
    return TITLES[model].format(data=sources.TITLES[data])


def figures(result: dict) -> dict[str, Figure]:
    """Error curves, weight angles, delta angles, and the claim in one plot."""
    errors, deltas, weights, ratios = {}, {}, {}, {}
    found = networks(result)
    if not found:
        return {}
    for data, model in found:
        title = _title(data, model)
        by_setting = {
            setting: chosen(result, data=data, model=model, setting=setting) for setting in SETTINGS
        }
        by_setting = {setting: runs for setting, runs in by_setting.items() if runs}
        errors[title] = {
            setting: [
                [(e["epoch"], 100 - 100 * e["val_accuracy"]) for e in run["history"][1:]]
                for run in runs
            ]
            for setting, runs in by_setting.items()
        }
        deltas[title] = {
            setting: [run["history"][-1]["delta_angle_deg"] for run in runs]
            for setting, runs in by_setting.items()
            if setting not in ("BP", "last layer only")
        }
        if "SS" in by_setting and model != "mlp":
            weights[title] = by_setting["SS"][0]["history"]
        for setting in ("SS", "FA", "last layer only"):
            ratios.setdefault(setting, []).append(relative_to_bp(result, data, model, setting))
    titles = [_title(data, model).replace(", ", "\n") for data, model in found]
    drawn = {
        "errors": draw.curves(errors, "validation error (%)"),
        "deltas": draw.by_depth(deltas, "angle of delta and BP's (degrees)"),
        "claim": draw.relative(titles, ratios, "test accuracy / that of BP"),
    }
    return drawn | ({"weights": draw.weights_over_time(weights)} if weights else {})


def relative_to_bp(result, data, model, setting) -> list[float]:
    """Accuracy as a share of BP's mean accuracy, for every seed."""
    bp = _mean(result, data, model, "BP")
    ours = chosen(result, data=data, model=model, setting=setting)
    return [accuracy / bp for accuracy in accuracies(ours)] if bp else []


def claims(result: dict | None) -> list[Claim]:
    """The paper's claims; their numbers are of ImageNet, and of a rerun of their code."""
    cifar = "resnet18-cifar" if chosen(result, model="resnet18-cifar") else "resnet20"
    return [
        _scales(result, cifar),
        _on_cifar(result, cifar),
        _last_layer(result, cifar),
        *(_on_imagenet(result, model, numbers) for model, numbers in IMAGENET_ERRORS.items()),
        _weights(result),
    ]


IMAGENET_ERRORS = {"resnet18": (36.14, 37.91, 90.52), "alexnet": (49.15, 47.57, 88.08)}


def _ours(result, data, model, settings) -> str:
    """Our accuracies under some settings."""
    return (
        ", ".join(
            f"{setting} "
            + measured(accuracies(chosen(result, data=data, model=model, setting=setting)))
            for setting in settings
        )
        + " %"
    )


def _setting(result, data, model) -> str:
    """Our setting in words."""
    title = _title(data, model)
    found = chosen(result, data=data, model=model)
    if not found:
        return title
    first = found[0]
    return f"{title}, width {first['width']}, {first['images']:,} images, {first['epochs']} epochs"


def _scales(result, cifar) -> Claim:
    tasks = [("mnist", "mlp"), ("cifar10", cifar), ("tiny-imagenet", "resnet18")]
    ratios = {
        setting: [average(relative_to_bp(result, *task, setting)) for task in tasks]
        for setting in ("SS", "FA")
    }
    words = [
        f"{setting} " + ", ".join("-" if r is None else f"{r:.2f}" for r in ratios[setting])
        for setting in ratios
    ]
    return Claim(
        "SS scales to large tasks, FA does not",
        "top-1 accuracy as a share of BP's, ResNet-18 on ImageNet: SS 0.97, FA 0.15 (recalled)",
        "MLP on MNIST, ResNet on CIFAR-10, ResNet-18 on Tiny-ImageNet",
        "share of BP's accuracy: " + "; ".join(words),
        [
            ("SS at least 0.85 on all three", holds(lambda *r: min(r) >= 0.85, *ratios["SS"])),
            ("FA falls from task to task", holds(lambda a, b, c: a > b > c, *ratios["FA"])),
            ("FA at most 0.45 on Tiny-ImageNet", holds(lambda r: r <= 0.45, ratios["FA"][2])),
        ],
    )


def _mean(result, data, model, setting):
    return average(accuracies(chosen(result, data=data, model=model, setting=setting)))


def _bp_learns(result, data, model):
    """Without this condition, a network that learns nothing would fulfil others."""
    bp, last = (_mean(result, data, model, setting) for setting in ("BP", "last layer only"))
    return (
        "BP at least 10 points above the last layer alone",
        holds(lambda a, b: a >= b + 10, bp, last),
    )


def _on_cifar(result, cifar) -> Claim:
    bp, ss, fa = (_mean(result, "cifar10", cifar, setting) for setting in ("BP", "SS", "FA"))
    return Claim(
        "On CIFAR-10 SS costs a few points, FA tens of them",
        "BP 89.2, SS 85.1, FA 51.1 % (rerun of the authors' code, ResNet-18, best epoch, one seed)",
        _setting(result, "cifar10", cifar),
        _ours(result, "cifar10", cifar, ("BP", "SS", "FA", "last layer only")),
        [
            ("SS at most 6 points below BP", holds(lambda a, b: a - b <= 6, bp, ss)),
            ("FA at least 20 points below BP", holds(lambda a, b: a - b >= 20, bp, fa)),
        ],
        [_bp_learns(result, "cifar10", cifar)],
    )


def _last_layer(result, cifar) -> Claim:
    settings = ("SS", "SS, BP last", "FA", "FA, BP last")
    ss, ss_last, fa, fa_last = (_mean(result, "cifar10", cifar, setting) for setting in settings)
    return Claim(
        "BP in the last layer makes no difference to SS, but helps FA",
        "SS 85.1 to 86.7, FA 51.1 to 56.8 % (the same rerun)",
        _setting(result, "cifar10", cifar),
        _ours(result, "cifar10", cifar, settings),
        [
            ("SS moves by at most 2 points", holds(lambda a, b: abs(a - b) <= 2, ss, ss_last)),
            ("FA gains at least 2 points", holds(lambda a, b: b - a >= 2, fa, fa_last)),
        ],
    )


def _on_imagenet(result, model, numbers) -> Claim:
    bp, ss, fa = (_mean(result, "tiny-imagenet", model, name) for name in ("BP", "SS", "FA"))
    return Claim(
        f"{TITLES[model].split(',')[0]} learns ImageNet under SS nearly as under BP",
        "top-1 error BP {}, SS {}, FA {} % (recalled)".format(*numbers),
        _setting(result, "tiny-imagenet", model),
        "top-1 accuracy "
        + _ours(result, "tiny-imagenet", model, ("BP", "SS", "FA", "last layer only")),
        [
            ("SS at least 0.85 of BP", holds(lambda a, b: b >= 0.85 * a, bp, ss)),
            ("FA at most 0.45 of BP", holds(lambda a, b: b <= 0.45 * a, bp, fa)),
        ],
        [_bp_learns(result, "tiny-imagenet", model)],
    )


def _weights(result) -> Claim:
    """Under SS: angles of W and sign(W), last three layers against the others."""
    changes = []
    for trial in chosen(result, data="tiny-imagenet", model="alexnet", setting="SS"):
        first, last = (trial["history"][i]["weight_angle_deg"] for i in (0, -1))
        changes.append([b - a for a, b in zip(first, last, strict=True)])
    change = [mean(values) for values in zip(*changes, strict=True)] or None
    return Claim(
        "Under SS the angle of W and sign(W) falls in the last three layers, rises in the others",
        "shown as curves (recalled)",
        _setting(result, "tiny-imagenet", "alexnet"),
        "change in degrees, bottom to top: "
        + (", ".join(f"{value:+.1f}" for value in change) if change else "-"),
        [
            ("it falls in each of the last three", holds(lambda c: max(c[-3:]) < 0, change)),
            ("it rises in each of the others", holds(lambda c: min(c[:-3]) > 0, change)),
        ],
    )
