"""Xiao, Chen, Liao & Poggio 2018: SS learns large tasks nearly as BP does, FA hardly does.

Xiao et al.    ResNet-18 and AlexNet on ImageNet, 50 epochs (recalled) of SGD, momentum 0.9, weight
               decay 1e-4, batch 256, 224 pixels, learning rate 0.1, divided by 10 every 10 epochs
here           an MLP on MNIST, a ResNet on CIFAR-10, ResNet-18 and AlexNet on classes of
               Tiny-ImageNet, scaled down, with smaller batches; every setting chooses its own
               learning rate, which falls along a cosine
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from nnref import models, plots
from nnref.experiments.images import TITLES
from nnref.experiments.network import rules_of
from nnref.experiments.plan import Part, Setting
from nnref.experiments.result import Claim, Result, Table, as_text, average, every, listed, spread
from nnref.experiments.trial import Parts, usual_training, watch_layers
from nnref.optim import SGD, cosine, step_decay

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
SMOKE = [
    ModelsPart(
        data="digits", take=100, models={"mlp": [0.03, 0.1]}, width=0.1,
        search_images=50, search_epochs=1, epochs=2, batch_size=16, seeds=2,
    ),
    ModelsPart(data="digits", take=50, models={"alexnet": [0.02]}, width=0.04, batch_size=16),
]  # fmt: skip
SMALL = [
    MNIST,
    ModelsPart(
        data="cifar10", take=22_500, models={"resnet20": [0.02, 0.06, 0.2, 0.6]}, width=0.5,
        search_images=5_000, search_epochs=2, epochs=6, batch_size=100,
    ),
    ModelsPart(
        data="tiny-imagenet", classes=20, models=RESNET_AND_ALEXNET, width=0.25,
        search_images=10_000, search_epochs=3, epochs=8, batch_size=64,
    ),
]  # fmt: skip
FULL = [
    replace(MNIST, epochs=20),
    ModelsPart(  # as published: the learning rate is divided by 10 every 10 epochs
        data="cifar10", models={"resnet18-cifar": [0.1]},
        schedule=lambda lr, epochs: step_decay(lr, 10), epochs=30, batch_size=256, seeds=3,
    ),
    ModelsPart(
        data="tiny-imagenet", models=RESNET_AND_ALEXNET,
        search_images=20_000, search_epochs=3, epochs=30, batch_size=128, seeds=3,
    ),
]  # fmt: skip
TIERS = {"smoke": SMOKE, "small": SMALL, "full": FULL}


def plan(part: ModelsPart):
    """Every model of the part under the five settings and the baseline."""
    for model, rates in part.models.items():
        for setting in SETTINGS:
            facts = {"data": part.data, "model": model, "width": part.width, "setting": setting}
            yield Setting(facts, rates)


def parts(part: ModelsPart, facts: dict, images) -> Parts:
    """A model with the rules of a setting, measured layer by layer."""
    _, build = MODELS[facts["model"]]
    rule, last = rules_of(facts["setting"])
    others = {"last_feedback": last, "width": part.width, "seed": facts["seed"]}
    model = build(images.shape, images.facts["classes"], feedback=rule, **others)
    optimizer = SGD(model, facts["lr"], weight_decay=1e-4)  # as Xiao et al.
    schedule = part.schedule(facts["lr"], facts["epochs"])
    training = usual_training(model, part, facts, images, optimizer, schedule=schedule)
    return Parts(training, images.test, look=watch_layers)


def tasks(result: Result) -> list[dict]:
    """Data and model of all that was trained to the end, easiest first."""
    pairs = dict.fromkeys((trial["data"], trial["model"]) for trial in result.trials())
    return [{"data": data, "model": model} for data, model in pairs]


def table(result: Result) -> str:
    """Test accuracies under every setting, and the learning rate that each chose."""
    table = Table(22, 13)
    table.foot = (Table.foot[0], "*: the smallest or largest learning rate that was tried")
    for task in tasks(result):
        headline = "{data}, {model} of width {width}, {images} images, {epochs} epochs"
        table.lines.append(headline.format(**result.trials(**task)[0]))
        table.row(f"{'':<17}seeds", ["top 1", "top 5", f"{'learning rate':>15}"])
        for setting in SETTINGS:
            facts = task | {"setting": setting}
            trials, top1 = result.trials(**facts), spread(result.accuracies(**facts))
            top5 = spread([100 * t["test"]["top5"] if "test" in t else 0.0 for t in trials])
            rate, star = trials[0]["lr"] if trials else "-", "*" if result.at_edge(**facts) else ""
            table.row(f"{setting:<17}{len(trials):>5}", [top1, top5, f"{rate:>15}{star}"])
        data = next(d for d in result.record["data"] if d["name"].startswith(task["data"]))
        table.row("a guess", [f"{top / data['classes']:.1f}" for top in (100, 500)])
    return table.text()


def figures(result: Result) -> dict:
    """Error curves, delta angles, the claim in one plot, weight angles."""
    draw = plots.experiments
    errors, deltas, shares, weights = {}, {}, {"SS": [], "FA": [], "last layer only": []}, {}
    for task in tasks(result):
        title = title_of(**task)
        trials = {s: result.trials(**task, setting=s) for s in SETTINGS}
        errors[title] = {s: [_error_curve(t) for t in trials[s]] for s in SETTINGS if trials[s]}
        ends = {s: [t["history"][-1] for t in trials[s]] for s in ASYMMETRIC if trials[s]}
        deltas[title] = {s: [end["delta_angle_deg"] for end in ends[s]] for s in ends}
        for setting, values in shares.items():
            values.append(shares_of_bp(result, task, setting))
        if trials["SS"] and task["model"] != "mlp":
            weights[title] = trials["SS"][0]["history"]
    if not errors:
        return {}
    titles = [title.replace(", ", "\n") for title in errors]
    drawn = {
        "errors": draw.curves(errors, "validation error (%)"),
        "deltas": draw.by_depth(deltas, "angle of delta and BP's (degrees)"),
        "claim": draw.relative(titles, shares, "test accuracy / that of BP"),
    }
    return drawn | ({"weights": draw.weights_over_time(weights)} if weights else {})


def title_of(data: str, model: str) -> str:
    """Of a task: AlexNet, Tiny-ImageNet."""
    return f"{MODELS[model][0]}, {TITLES[data]}"


def _error_curve(trial):
    return [(e["epoch"], 100 - 100 * e["held_out_accuracy"]) for e in trial["history"][1:]]


def shares_of_bp(result: Result, task: dict, setting: str) -> list[float]:
    """Accuracy as a share of BP's mean accuracy, for every seed."""
    bp = result.mean(**task, setting="BP")
    return [a / bp for a in result.accuracies(**task, setting=setting)] if bp > 0 else []


DIGITS = {"data": "mnist", "model": "mlp"}
RESNET = {"data": "tiny-imagenet", "model": "resnet18"}
ALEXNET = {"data": "tiny-imagenet", "model": "alexnet"}
SHOWN = ("BP", "SS", "FA", "last layer only")


def cifar(result):
    """The task of CIFAR-10, with the published network where that was trained."""
    published = result.trials(model="resnet18-cifar")
    return {"data": "cifar10", "model": "resnet18-cifar" if published else "resnet20"}


def setting_of(result, task):
    """Our setting, in words."""
    detail = ", width {width}, {images:,} images, {epochs} epochs"
    trials = result.trials(**task)
    return title_of(**task) + (detail.format(**trials[0]) if trials else "")


def ours(result, task, settings=SHOWN):
    """Our accuracies under some settings, in words."""
    return ", ".join(f"{s} {result.measured(**task, setting=s)}" for s in settings) + " %"


def bp_learns(result, task):
    """A model that learns nothing would fulfill other conditions."""
    bp, last = (result.mean(**task, setting=s) for s in ("BP", "last layer only"))
    yield "BP at least 10 points above the last layer alone", bp >= last + 10


def _listed(numbers, form):
    return ", ".join(as_text(number, form) for number in numbers)


def _scales(result):
    three = DIGITS, cifar(result), RESNET
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


def _on_cifar(result):
    task = cifar(result)
    bp, ss, fa = (result.mean(**task, setting=s) for s in ("BP", "SS", "FA"))
    return Claim(
        name="CIFAR-10", text="On CIFAR-10 SS costs a few points, FA tens of them",
        published="BP 89.2, SS 85.1, FA 51.1 % (rerun of Xiao et al.'s code, ResNet-18, best "
        "epoch, one seed)",
        setting=setting_of(result, task), ours=ours(result, task),
        conditions=[
            ("SS at most 6 points below BP", bp - ss <= 6),
            ("FA at least 20 points below BP", bp - fa >= 20),
        ],
        guards=bp_learns(result, task),
    )  # fmt: skip


def _last_layer(result):
    task = cifar(result)
    ss, ss_last, fa, fa_last = (result.mean(**task, setting=s) for s in ASYMMETRIC)
    return Claim(
        name="last layer", text="BP in the last layer makes no difference to SS, but helps FA",
        published="SS 85.1 to 86.7, FA 51.1 to 56.8 % (the same rerun)",
        setting=setting_of(result, task), ours=ours(result, task, ASYMMETRIC),
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
        setting=setting_of(result, task), ours=f"top-1 accuracy {ours(result, task)}",
        conditions=[
            ("SS at least 0.85 of BP", ss >= 0.85 * bp),
            ("FA at most 0.45 of BP", fa <= 0.45 * bp),
        ],
        guards=bp_learns(result, task),
    )  # fmt: skip


def _weights(result):
    trials = result.trials(**ALEXNET, setting="SS")
    angles = [[t["history"][i]["weight_angle_deg"] for i in (0, -1)] for t in trials]
    changes = [average(last[i] - first[i] for first, last in angles) for i in range(8)]  # layers
    return Claim(
        name="weights", published="shown as curves (recalled)",
        text="Under SS the angle of W and sign(W) falls in the last three layers, rises in the "
        "others",
        setting=setting_of(result, ALEXNET),
        ours=f"change in degrees, bottom to top: {_listed(changes, '+.1f') if trials else '-'}",
        conditions=[
            ("it falls in each of the last three", every(change < 0 for change in changes[-3:])),
            ("it rises in each of the others", every(change > 0 for change in changes[:-3])),
        ],
    )  # fmt: skip


# the numbers of the paper are of ImageNet, those of CIFAR-10 of a rerun of its code
claims = listed(
    _scales, _on_cifar, _last_layer,
    partial(on_imagenet, task=RESNET, errors="BP 36.14, SS 37.91, FA 90.52"),
    partial(on_imagenet, task=ALEXNET, errors="BP 49.15, SS 47.57, FA 88.08"),
    _weights,
)  # fmt: skip
