"""Xiao, Chen, Liao & Poggio 2018, "Biologically-plausible learning algorithms can scale to large
datasets" (arXiv 1811.03567): with the signs of the weights alone, a network learns ImageNet nearly
as well as by backpropagation; feedback alignment, which learns digits well, hardly does.

    Xiao et al.    ResNet-18 and AlexNet on ImageNet, 50 epochs (recalled) of SGD, momentum 0.9,
                   weight decay 1e-4, batch 256, 224 pixels, learning rate 0.1, divided by 10 every
                   10 epochs
    here           an MLP on MNIST, a ResNet on CIFAR-10, ResNet-18 and AlexNet on classes of
                   Tiny-ImageNet, scaled down, with smaller batches; every setting chooses its own
                   learning rate, which falls along a cosine
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from matplotlib.figure import Figure

from nnref import models
from nnref.experiments.images import TITLES
from nnref.experiments.network import rules_of
from nnref.experiments.result import Claim, Result, average, every, in_words, spread
from nnref.experiments.study import Part, Setting
from nnref.experiments.trial import Parts, usual_training, watch_layers
from nnref.optim import SGD, cosine, step_decay
from nnref.plots import experiments as draw

PAPER = (
    "Xiao, Chen, Liao & Poggio 2018, *Biologically-plausible learning algorithms can scale to "
    "large datasets* ([arXiv 1811.03567](https://arxiv.org/abs/1811.03567)): with the signs of the "
    "weights alone a network learns ImageNet nearly as well as by backpropagation."
)
SETTINGS = "BP", "SS", "SS, BP last", "FA", "FA, BP last", "last layer only"  # the baseline
ASYMMETRIC = SETTINGS[1:5]
MODELS = {  # name -> (title, function that builds it)
    "mlp": ("MLP", partial(models.mlp, [500, 300])),
    "resnet20": ("ResNet-20", models.resnet20),
    "resnet18": ("ResNet-18", models.resnet18),
    "resnet18-cifar": ("ResNet-18", partial(models.resnet18, stem="cifar")),
    "alexnet": ("AlexNet", models.alexnet),
}
MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4  # as Xiao et al.


@dataclass(frozen=True, kw_only=True)
class ModelsPart(Part):
    """A part of the plan: a data set, and what is trained on it."""

    models: dict  # name of a model -> learning rates to choose from, for every setting by itself
    width: float = 1  # times the numbers of units and kernels
    schedule: Callable = cosine  # (learning rate, epochs) -> from epoch to learning rate


RESNET_AND_ALEXNET = {  # the models of Xiao et al.
    "resnet18": [0.01, 0.03, 0.1, 0.3],
    "alexnet": [0.0003, 0.001, 0.003, 0.01, 0.03],
}
MNIST = ModelsPart(
    data="mnist", models={"mlp": [0.03, 0.1, 0.3, 1.0]},
    search_images=60_000, search_epochs=5, epochs=5, batch_size=128, seeds=3,
)  # fmt: skip
TIERS = {
    "smoke": [
        ModelsPart(
            data="digits", take=100, models={"mlp": [0.03, 0.1]}, width=0.1,
            search_images=50, search_epochs=1, epochs=2, batch_size=16, seeds=2,
        ),
        ModelsPart(data="digits", take=50, models={"alexnet": [0.02]}, width=0.04, batch_size=16),
    ],
    "small": [
        MNIST,
        ModelsPart(
            data="cifar10", take=22_500, models={"resnet20": [0.02, 0.06, 0.2, 0.6]}, width=0.5,
            search_images=5_000, search_epochs=2, epochs=6, batch_size=100,
        ),
        ModelsPart(
            data="tiny-imagenet", classes=20, models=RESNET_AND_ALEXNET, width=0.25,
            search_images=10_000, search_epochs=3, epochs=8, batch_size=64,
        ),
    ],
    "full": [
        replace(MNIST, epochs=20),
        ModelsPart(  # as published: the learning rate is divided by 10 every 10 epochs
            data="cifar10", models={"resnet18-cifar": [0.1]},
            schedule=lambda lr, epochs: step_decay(lr, 10), epochs=30, batch_size=256, seeds=3,
        ),
        ModelsPart(
            data="tiny-imagenet", models=RESNET_AND_ALEXNET,
            search_images=20_000, search_epochs=3, epochs=30, batch_size=128, seeds=3,
        ),
    ],
}  # fmt: skip
MINUTES = {
    "smoke": "a few seconds", "small": "two to three hours on 2 cores, from one seed",
    "full": "hours on a GPU",
}  # fmt: skip


def plan(part: ModelsPart):
    """Every model of the part under the five settings and the baseline."""
    for model, rates in part.models.items():
        for setting in SETTINGS:
            facts = {"data": part.data, "model": model, "width": part.width, "setting": setting}
            yield Setting(facts, rates)


def parts(part: ModelsPart, facts: dict, images) -> Parts:
    """A model with the rules of a setting, measured layer by layer."""
    feedback, last_feedback = rules_of(facts["setting"])
    _, build = MODELS[facts["model"]]
    model = build(
        images.shape, images.facts["classes"], feedback=feedback, last_feedback=last_feedback,
        width=part.width, seed=facts["seed"],
    )  # fmt: skip
    optimizer = SGD(model, facts["lr"], MOMENTUM, WEIGHT_DECAY)
    schedule = part.schedule(facts["lr"], facts["epochs"])
    training = usual_training(model, optimizer, part, facts, images, schedule=schedule)
    return Parts(training, images.test, look=watch_layers)


def tasks(result: Result) -> list[dict]:
    """Data and model of all that was trained to the end, easiest first."""
    pairs = dict.fromkeys((trial["data"], trial["model"]) for trial in result.trials())
    return [{"data": data, "model": model} for data, model in pairs]


def table(result: Result) -> str:
    """Test accuracies under every setting, and the learning rate that each chose."""
    lines, title = [], "{data}, {model} of width {width}, {images} images, {epochs} epochs"
    for task in tasks(result):
        lines.append(title.format(**result.trials(**task)[0]))
        lines.append(f"  {'':<17}{'seeds':>5}{'top 1':>13}{'top 5':>13}{'learning rate':>15}")
        for setting in SETTINGS:
            facts = task | {"setting": setting}
            trials, top1 = result.trials(**facts), spread(result.accuracies(**facts))
            top5 = spread([100 * t["test"]["top5"] if "test" in t else 0.0 for t in trials])
            rate, star = trials[0]["lr"] if trials else "-", "*" if result.at_edge(**facts) else ""
            lines.append(f"  {setting:<17}{len(trials):>5}{top1:>13}{top5:>13}{rate:>15}{star}")
        name = task["data"]
        classes = next(d["classes"] for d in result.record["data"] if d["name"].startswith(name))
        lines.append(f"  {'a guess':<22}{100 / classes:>13.1f}{500 / classes:>13.1f}")
    lines.append("test accuracy in %, mean ± standard deviation over the seeds")
    return "\n".join([*lines, "*: the smallest or largest learning rate that was tried"])


def figures(result: Result) -> dict[str, Figure]:
    """Error curves, delta angles, the claim in one plot, weight angles."""
    found = {title_of(**task): task for task in tasks(result)}
    if not found:
        return {}
    errors, deltas, weights = {}, {}, {}
    for title, task in found.items():
        trials = {s: result.trials(**task, setting=s) for s in SETTINGS}
        errors[title] = {s: [error_curve(t) for t in trials[s]] for s in SETTINGS if trials[s]}
        ends = {s: [t["history"][-1] for t in trials[s]] for s in ASYMMETRIC if trials[s]}
        deltas[title] = {s: [end["delta_angle_deg"] for end in ends[s]] for s in ends}
        if trials["SS"] and task["model"] != "mlp":
            weights[title] = trials["SS"][0]["history"]
    shares = {
        s: [shares_of_bp(result, task, s) for task in found.values()]
        for s in ("SS", "FA", "last layer only")
    }
    titles = [title.replace(", ", "\n") for title in found]
    drawn = {
        "errors": draw.curves(errors, "validation error (%)"),
        "deltas": draw.by_depth(deltas, "angle of delta and BP's (degrees)"),
        "claim": draw.relative(titles, shares, "test accuracy / that of BP"),
    }
    return drawn | ({"weights": draw.weights_over_time(weights)} if weights else {})


def title_of(data: str, model: str) -> str:
    """Of a task: AlexNet, Tiny-ImageNet."""
    return f"{MODELS[model][0]}, {TITLES[data]}"


def error_curve(trial: dict) -> list[tuple]:
    """(epoch, held-out error in %) after every epoch."""
    return [(e["epoch"], 100 - 100 * e["held_out_accuracy"]) for e in trial["history"][1:]]


def shares_of_bp(result: Result, task: dict, setting: str) -> list[float]:
    """Accuracy as a share of BP's mean accuracy, for every seed."""
    bp = result.mean(**task, setting="BP")
    return [a / bp for a in result.accuracies(**task, setting=setting)] if bp > 0 else []


DIGITS = {"data": "mnist", "model": "mlp"}
RESNET = {"data": "tiny-imagenet", "model": "resnet18"}
ALEXNET = {"data": "tiny-imagenet", "model": "alexnet"}
SHOWN = ("BP", "SS", "FA", "last layer only")


def setting_of(result, task):
    """Our setting, in words."""
    detail = ", width {width}, {images:,} images, {epochs} epochs"
    trials = result.trials(**task)
    return title_of(**task) + (detail.format(**trials[0]) if trials else "")


def ours(result, task, settings):
    """Our accuracies under some settings, in words."""
    return ", ".join(f"{s} {result.measured(**task, setting=s)}" for s in settings) + " %"


def bp_learns(result, task):
    """A model that learns nothing would fulfill other conditions."""
    bp, last = (result.mean(**task, setting=s) for s in ("BP", "last layer only"))
    yield "BP at least 10 points above the last layer alone", bp >= last + 10


def _listed(numbers, form):
    return ", ".join(in_words(number, form) for number in numbers)


def _scales(result, cifar):
    three = DIGITS, cifar, RESNET
    ss, fa = ([average(shares_of_bp(result, task, s)) for task in three] for s in ("SS", "FA"))
    return Claim(
        name="scales", text="SS scales to large tasks, FA does not",
        published="top-1 accuracy as a share of BP's, ResNet-18 on ImageNet: SS 0.97, FA 0.15 "
        "(recalled)",
        setting="MLP on MNIST, ResNet on CIFAR-10, ResNet-18 on Tiny-ImageNet",
        ours=f"share of BP's accuracy: SS {_listed(ss, '.2f')}; FA {_listed(fa, '.2f')}",
        conditions=[
            ("SS at least 0.85 on all three", every(share >= 0.85 for share in ss)),
            ("FA falls from task to task", every([fa[0] > fa[1], fa[1] > fa[2]])),
            ("FA at most 0.45 on Tiny-ImageNet", fa[2] <= 0.45),
        ],
    )  # fmt: skip


def _on_cifar(result, cifar):
    bp, ss, fa = (result.mean(**cifar, setting=s) for s in ("BP", "SS", "FA"))
    return Claim(
        name="CIFAR-10", text="On CIFAR-10 SS costs a few points, FA tens of them",
        published="BP 89.2, SS 85.1, FA 51.1 % (rerun of Xiao et al.'s code, ResNet-18, best "
        "epoch, one seed)",
        setting=setting_of(result, cifar), ours=ours(result, cifar, SHOWN),
        conditions=[
            ("SS at most 6 points below BP", bp - ss <= 6),
            ("FA at least 20 points below BP", bp - fa >= 20),
        ],
        guards=bp_learns(result, cifar),
    )  # fmt: skip


def _last_layer(result, cifar):
    ss, ss_last, fa, fa_last = (result.mean(**cifar, setting=s) for s in ASYMMETRIC)
    return Claim(
        name="last layer", text="BP in the last layer makes no difference to SS, but helps FA",
        published="SS 85.1 to 86.7, FA 51.1 to 56.8 % (the same rerun)",
        setting=setting_of(result, cifar), ours=ours(result, cifar, ASYMMETRIC),
        conditions=[
            ("SS moves by at most 2 points", abs(ss - ss_last) <= 2),
            ("FA gains at least 2 points", fa_last - fa >= 2),
        ],
    )  # fmt: skip


def on_imagenet(result, task, errors):
    """The claim that is the same for both models of Xiao et al., with their errors."""
    bp, ss, fa = (result.mean(**task, setting=s) for s in ("BP", "SS", "FA"))
    return Claim(
        name=f"ImageNet, {task['model']}",
        text=f"{MODELS[task['model']][0]} learns ImageNet under SS nearly as under BP",
        published=f"top-1 error {errors} % (recalled)",
        setting=setting_of(result, task), ours=f"top-1 accuracy {ours(result, task, SHOWN)}",
        conditions=[
            ("SS at least 0.85 of BP", ss >= 0.85 * bp),
            ("FA at most 0.45 of BP", fa <= 0.45 * bp),
        ],
        guards=bp_learns(result, task),
    )  # fmt: skip


def _weights(result):
    histories = [trial["history"] for trial in result.trials(**ALEXNET, setting="SS")]
    angles = [[h[i]["weight_angle_deg"] for i in (0, -1)] for h in histories]
    changes = [average(last[i] - first[i] for first, last in angles) for i in range(8)]  # layers
    return Claim(
        name="weights",
        text="Under SS the angle of W and sign(W) falls in the last three layers, rises in the "
        "others",
        published="shown as curves (recalled)",
        setting=setting_of(result, ALEXNET),
        ours=f"change in degrees, bottom to top: {_listed(changes, '+.1f') if angles else '-'}",
        conditions=[
            ("it falls in each of the last three", every(change < 0 for change in changes[-3:])),
            ("it rises in each of the others", every(change > 0 for change in changes[:-3])),
        ],
    )


def claims(result: Result) -> list[Claim]:
    """The claims of the paper; their numbers are of ImageNet, and of a rerun of its code."""
    model = "resnet18-cifar" if result.trials(model="resnet18-cifar") else "resnet20"
    cifar = {"data": "cifar10", "model": model}
    return [
        _scales(result, cifar), _on_cifar(result, cifar), _last_layer(result, cifar),
        on_imagenet(result, RESNET, "BP 36.14, SS 37.91, FA 90.52"),
        on_imagenet(result, ALEXNET, "BP 49.15, SS 47.57, FA 88.08"),
        _weights(result),
    ]  # fmt: skip
