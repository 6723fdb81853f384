"""The settings of a training run: their names, defaults and allowed values.

Flags and TOML files use the same names (flags override files). Only this module turns names into
models, feedback rules and optimizers. A wrong value raises InputError, which says what is allowed.
"""

import dataclasses
import json
import math
import shlex
import tomllib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nnref import models
from nnref.data import cifar10, imagefolder, mnist
from nnref.data.imageset import batches
from nnref.errors import InputError
from nnref.files import read_text, user_path
from nnref.optim import SGD, SHARE, Adam, BatchManhattan, cosine, is_share, step_decay
from nnref.rules import own
from nnref.rules.known import KNOWN, Known, as_it_is

MODELS = {
    "mlp": models.mlp,
    "lenet": models.lenet,
    "cifar-cnn": models.cifar_cnn,
    "locally-connected": models.locally_connected,
    "lenet-biotorch": models.lenet_biotorch,
    "resnet8": partial(models.resnet20, blocks=1, stem_stride=2),
    "resnet20": models.resnet20,
    "resnet18": models.resnet18,
    "resnet18-cifar": partial(models.resnet18, stem="cifar"),
    "alexnet": models.alexnet,
}
DATA = {"mnist-subset": mnist.load_subset, "mnist": mnist.load, "cifar10": cifar10.load}
OPTIMIZERS = {"sgd": SGD, "adam": Adam, "batch-manhattan": BatchManhattan}
LARGEST = 10**9  # of a whole number
LARGEST_FILE = 2**20  # bytes, of settings


def one_of(names):
    """A check: one of these names."""
    return f"one of {', '.join(names)}", str, lambda value: value in names


def whole(smallest, largest=LARGEST):
    """A check: a whole number from `smallest` to `largest`; the larger ones are no floats."""
    some = f"of at least {smallest}" if largest == math.inf else f"from {smallest} to {largest:,}"
    return f"a whole number {some}", int, lambda value: smallest <= value <= largest


def real(what, holds):
    """A check: a finite number for which `holds`."""
    return what, float, lambda value: math.isfinite(value) and holds(value)


def _is_data(name):
    kind, _, path = name.partition(":")
    return name in DATA or (kind == "imagefolder" and path != "")


def _whole_path(data: str) -> Path | None:
    """The path in the name of a data set, the same from any folder; None if there is none."""
    path = data.partition(":")[2]
    if not path:
        return None
    return user_path(path).absolute()


def _check_utf_8(name, value):
    """Raise InputError if a text holds what config.toml cannot, as a strange file name may."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise InputError(f"{flag(name)}: expected a path in UTF-8, found {value!r}") from None


def _is_schedule(name):
    kind, _, epochs = name.partition(":")
    fits = epochs.isdecimal() and len(epochs) < 10 and int(epochs) > 0
    return name in ("constant", "cosine") or (kind == "step" and fits)


def _setting(default, about, check):
    return field(default=default, metadata={"about": about, "check": check})


POSITIVE = real("a number above 0", lambda value: value > 0)
WIDTH = real(f"a number above 0, at most {models.WIDEST}", lambda v: 0 < v <= models.WIDEST)
BELOW_1 = real(SHARE, is_share)
SCHEDULE = "constant, cosine, or step:EPOCHS"
RULE = (f"one of {', '.join(KNOWN)}, or FILE.py:NAME", str, lambda v: v in KNOWN or own.is_own(v))


@dataclass(frozen=True)
class Settings:
    """All settings of a run. Raises InputError for a value that is not allowed."""

    data: str = _setting(
        "mnist-subset",
        "data set",
        (f"{', '.join(DATA)} or imagefolder:PATH", str, _is_data),
    )
    size: int | None = _setting(None, "imagefolder: resize crops to this many pixels", whole(1))
    classes: int | None = _setting(None, "imagefolder: number of classes to draw", whole(1))
    per_class: int | None = _setting(None, "imagefolder: training images per class", whole(1))
    on_bad: str = _setting("stop", "imagefolder: at a damaged image", one_of(("stop", "skip")))
    val: float = _setting(0.1, "share of the training images held out for validation", BELOW_1)
    model: str = _setting("lenet", "the network", one_of(MODELS))
    width: float = _setting(1.0, "multiplies all numbers of channels and units", WIDTH)
    feedback: str = _setting("backprop", "rule for B", RULE)
    last_feedback: str | None = _setting(None, "rule of the last layer, if another", RULE)
    optimizer: str = _setting("sgd", "optimizer", one_of(OPTIMIZERS))
    lr: float = _setting(0.01, "learning rate", POSITIVE)
    momentum: float = _setting(0.9, "of sgd and batch-manhattan", BELOW_1)
    weight_decay: float = _setting(
        0.0,
        "of sgd and batch-manhattan",
        real("a number of at least 0", lambda value: value >= 0),
    )
    schedule: str = _setting(
        "constant",
        "of the learning rate; cosine: down to 0; step: divided by 10 every so many epochs",
        (SCHEDULE, str, _is_schedule),
    )
    epochs: int = _setting(1, "passes over the training images", whole(1))
    batch_size: int = _setting(32, "images in a step", whole(2))
    seed: int = _setting(0, "of all random numbers", whole(0, math.inf))

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value is not None or FIELDS[name].default is not None:
                if name in ("data", *OF_RULES):
                    _check_utf_8(name, value)
                object.__setattr__(self, name, checked(name, value))
        folder = _whole_path(self.data)
        for name in OF_FOLDERS:
            if getattr(self, name) != FIELDS[name].default and not folder:
                raise InputError(f"{flag(name)}: only for --data imagefolder:PATH")
        if folder:
            object.__setattr__(self, "data", f"imagefolder:{folder}")
        for name in OF_RULES:
            if own.is_own(getattr(self, name) or ""):
                object.__setattr__(self, name, "{}:{}".format(*own.parts(getattr(self, name))))
        for name in ("momentum", "weight_decay"):
            if self.optimizer == "adam" and getattr(self, name) != FIELDS[name].default:
                raise InputError(f"{flag(name)}: only for --optimizer sgd or batch-manhattan")


OF_RULES = ("feedback", "last_feedback")
OF_FOLDERS = ("size", "classes", "per_class", "on_bad")
FIELDS = {f.name: f for f in dataclasses.fields(Settings)}


def flag(name: str) -> str:
    """The flag of a setting: --batch-size of batch_size."""
    return f"--{name.replace('_', '-')}"


def checked(name: str, value):
    """A value in the type of its setting. Raises InputError if it is not allowed."""
    what, kind, holds = FIELDS[name].metadata["check"]
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 1e300 else math.inf
    if type(value) is not kind or not holds(value):
        raise InputError(f"{flag(name)}: expected {what}, found {value!r}")
    return value


def from_text(name: str, text: str):
    """The value of a setting, read from the text of its flag."""
    what, kind, _ = FIELDS[name].metadata["check"]
    try:
        return checked(name, kind(text))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{flag(name)}: expected {what}, found {text!r}") from None


def read_toml(path: Path) -> dict:
    """The settings that a TOML file gives."""
    text = read_text(path, LARGEST_FILE)
    try:
        given = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    for name, value in given.items():
        if name not in FIELDS:
            raise InputError(f"{path}: expected one of {', '.join(FIELDS)}, found setting {name!r}")
        try:
            given[name] = checked(name, value)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return given


def as_toml(settings: Settings) -> str:
    """All settings as a TOML file that `read_toml` reads; those that are None are comments."""
    lines = []
    for name, value in dataclasses.asdict(settings).items():
        about = FIELDS[name].metadata["about"]
        if value is None:
            lines.append(f"# {name} is not set: {about}")
        else:
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}  # {about}")
    return "\n".join(lines) + "\n"


def as_flags(settings: Settings) -> str:
    """The flags of `python -m nnref train` for these settings; defaults are left out."""
    given = dataclasses.asdict(settings).items()
    return " ".join(
        f"{flag(name)} {shlex.quote(str(value))}"
        for name, value in given
        if value != FIELDS[name].default
    )


def load_data(settings: Settings, cache: bool = True):
    """(train, test) as its loader gives them; images of a folder by way of a `cache`."""
    path = settings.data.partition(":")[2]
    if not path:
        train, test = DATA[settings.data]()
    else:
        options = {name: getattr(settings, name) for name in OF_FOLDERS}
        train, test = imagefolder.load(path, **options, seed=settings.seed, cache=cache)
    if test is None:
        raise InputError(f"--data {settings.data}: expected images in val or test, found none")
    return train, test


def check_enough(settings, count, left):
    """Raise InputError if too few of `count` images are `left` to train on, naming the reason."""
    batch = settings.batch_size
    if batch > count:
        raise InputError(
            f"--batch-size: expected at most the {left} images to train on, found {batch}"
        )
    if batch > left:
        raise InputError(
            f"--val: expected to leave --batch-size {batch} images to train on, "
            f"found {settings.val}, which leaves {left}"
        )


def hashes_of_rules(settings: Settings) -> dict:
    """SHA-256 of the file of each rule that is the reader's own, by its flag."""
    names = {flag(name): getattr(settings, name) or "" for name in OF_RULES}
    return {flag: own.content_hash(name) for flag, name in names.items() if own.is_own(name)}


def rules_of(settings: Settings) -> tuple[Known, Known]:
    """(rule, rule of the last layer). Raises InputError if they cannot be used."""
    rule = own.rule_named(settings.feedback)
    last = own.rule_named(settings.last_feedback or settings.feedback)
    for name, known in ((settings.feedback, rule), (settings.last_feedback, last)):
        if settings.last_feedback and known.network is not as_it_is:
            raise InputError(f"--last-feedback: {name} is a rule for all layers alone")
    return rule, last


def build(settings: Settings, train):
    """(model, optimizer, schedule) for a run on these images."""
    x, _ = next(batches(train, 1))
    known, last = rules_of(settings)
    model = MODELS[settings.model](
        input_shape=x.shape[1:],
        classes=int(train.labels.max()) + 1,
        feedback=known.rule,
        last_feedback=last.rule,
        width=settings.width,
        seed=settings.seed,
    )
    model = known.network(model, x)
    rest = (settings.momentum, settings.weight_decay) if settings.optimizer != "adam" else ()
    optimizer = OPTIMIZERS[settings.optimizer](model, settings.lr, *rest)
    kind, _, every = settings.schedule.partition(":")
    schedules = {
        "constant": None,
        "cosine": cosine(settings.lr, settings.epochs),
        "step": step_decay(settings.lr, int(every or 1)),
    }
    return model, optimizer, schedules[kind]
