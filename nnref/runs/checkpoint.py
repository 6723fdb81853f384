"""Checkpoints: one file with everything that training needs to continue, bit for bit.

The file is an .npz of NumPy's, so np.load reads it; it holds no pickle. The comment at its end, 64
characters, is the SHA-256 of every byte before it: a file that is damaged anywhere is not loaded.
It holds parameters, BatchNorm's running averages, the matrices of the feedback rules and the
optimizer, the states of the random streams, and the progress of the training.
"""

import copy
import dataclasses
import hashlib
import io
import json
import zipfile
from functools import reduce
from pathlib import Path

import numpy as np

from nnref.backend import to_device, to_host, xp
from nnref.errors import InputError
from nnref.files import write_whole
from nnref.layers.checks import plain
from nnref.measure import weight_layers
from nnref.optim import Optimizer
from nnref.train import Progress

COMMENT = 64  # bytes: a SHA-256 in hexadecimal


def save(path: Path, model, optimizer, progress: Progress, facts: dict):
    """Write a checkpoint atomically; `facts_of` returns the `facts` (plain data, for JSON).

    Raises InputError if it cannot be written, FloatingPointError for weights that are not finite.
    """
    contents = {name: to_host(array) for name, array in _arrays(model, optimizer).items()}
    for name, array in contents.items():
        if not np.isfinite(array).all():
            raise FloatingPointError(f"training diverged: {name} is no longer finite")
    loss_sum = to_host(progress.loss_sum)  # with all its bits, which JSON might not keep
    stands = dataclasses.asdict(progress) | {"loss_sum": None}
    text = {
        "progress": stands,
        "streams": {name: rng.bit_generator.state for name, rng in _streams(model).items()},
        "numbers": _numbers(optimizer),
        "rules": _numbers_of_rules(model),
        "facts": facts,
    }
    try:
        words = json.dumps(text, default=_as_data)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: cannot be saved: {error}") from None
    contents |= {"text": np.array(words), "loss_sum": loss_sum}
    write_whole(path, _sealed(contents))


def _as_data(value):
    """What JSON cannot hold, such as an array, as lists and numbers of Python's own."""
    return value.tolist() if hasattr(value, "tolist") else float(value)


def _sealed(contents: dict) -> bytes:
    """The bytes of an .npz whose comment is the hash of the rest."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **contents)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"0" * COMMENT
    rest = buffer.getvalue()[:-COMMENT]
    return rest + hashlib.sha256(rest).hexdigest().encode()


def read(path: Path) -> dict:
    """Read a checkpoint: {name: NumPy array}.

    Raises InputError if any byte is damaged, or if it is not of the form that `save` gives it.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(content[:-COMMENT]).hexdigest().encode() != content[-COMMENT:]:
        raise InputError(f"{path}: damaged, or not a checkpoint of nnref: its hash differs")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            contents = {name: file[name] for name in file.files}
            if len(contents) < len(file.files):
                raise ValueError("a name stands in it twice")
        _check_form(contents)
    except MemoryError:
        raise
    except Exception as error:  # whatever NumPy finds in a file that someone else has sealed
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{path}: not a checkpoint of nnref: {words}") from None
    return contents


def _check_form(contents):
    """Raise ValueError, KeyError or TypeError unless these have the form that `save` gives them."""
    text, loss_sum = json.loads(str(contents["text"])), contents["loss_sum"]
    progress = Progress(**text["progress"])
    counts, entries = (progress.epoch, progress.step, progress.seen), progress.history
    expected = {
        "whole numbers of steps": all(type(n) is int and n >= 0 for n in counts),
        "a number of seconds": type(progress.seconds) in (int, float),
        "a list of entries": type(entries) is list and {type(entry) for entry in entries} <= {dict},
        "one sum of losses": loss_sum.shape == () and loss_sum.dtype.kind == "f",
        "facts and streams by name": {type(text[k]) for k in ("facts", "streams")} == {dict},
        "numbers by name": all(
            type(number) in (int, float, bool)
            for kind in (text["numbers"], text.get("rules", {}))  # once, there were no rules
            for number in kind.values()
        ),
    }
    for what, holds in expected.items():
        if not holds:
            raise ValueError(f"expected {what}")


def facts_of(contents: dict) -> dict:
    """The `facts` that were saved with a checkpoint."""
    return json.loads(str(contents["text"]))["facts"]


def restore(contents: dict, model, optimizer, where="checkpoint") -> Progress:
    """Load a checkpoint into a model and an optimizer that were made like the saved ones.

    Returns the progress of the training. Raises InputError, with nothing changed, if they differ;
    `where` says in its message what the checkpoint is: the name of its file or folder.
    """
    text, arrays = json.loads(str(contents["text"])), _arrays(model, optimizer)
    streams, numbers = _streams(model), _numbers(optimizer)
    saved = {name: _kind(contents[name]) for name in contents if name not in ("text", "loss_sum")}
    wanted = {name: _kind(array) for name, array in arrays.items()}
    if saved != wanted or text["streams"].keys() != streams.keys() or (
        text["numbers"].keys() != numbers.keys()
    ):  # fmt: skip
        raise InputError(
            f"{where}: of another network or optimizer, or of another version of nnref: "
            f"{_difference(wanted, saved)}"
        )
    for name, rng in streams.items():
        _set_state(copy.deepcopy(rng), text["streams"][name])  # raises before anything is changed
    for name, array in arrays.items():
        array[...] = to_device(contents[name])
    for name, rng in streams.items():
        _set_state(rng, text["streams"][name])
    for name, value in text["numbers"].items():
        setattr(optimizer, name, value)
    rules = weight_layers(model)
    for name in _numbers_of_rules(model).keys() & text.get("rules", {}).keys():
        place, *owners, attribute = name.split(".")
        owner = reduce(getattr, owners, rules[int(place)].feedback)
        setattr(owner, attribute, text["rules"][name])
    progress = Progress(**text["progress"] | {"loss_sum": to_device(contents["loss_sum"])})
    progress.history = with_present_names(progress.history)
    return progress


def with_present_names(history: list[dict]) -> list[dict]:
    """A history of any version: once, `held_out_loss` and `..._accuracy` began with `val_`."""
    return [
        {("held_out_" + key[4:] if key.startswith("val_") else key): entry[key] for key in entry}
        for entry in history
    ]


def _arrays(model, optimizer) -> dict:
    """All arrays that last longer than a step: {name: array}."""
    arrays = {}
    for i, layer in enumerate(model.walk()):
        arrays |= {f"layer{i}.{name}": array for name, array in layer.params.items()}
        arrays |= {f"layer{i}.{name}": getattr(layer, name) for name in layer.keeps}
    for i, layer in enumerate(weight_layers(model)):
        arrays |= _arrays_in(vars(layer.feedback), f"feedback{i}")
    arrays |= _arrays_in(vars(optimizer), "optimizer")
    once = {}  # each array by its first name: the places of an optimizer are parameters again
    for name, array in arrays.items():
        once.setdefault(id(array), (name, array))
    return dict(once.values())


def _arrays_in(value, name) -> dict:
    """All arrays in a value, and in its lists, dictionaries and optimizers: {name: array}."""
    if isinstance(value, xp.ndarray):
        return {name: value}
    items = value if isinstance(value, dict) else {}
    if isinstance(value, list | tuple):
        items = dict(enumerate(value))
    if isinstance(value, Optimizer):
        items = vars(value)
    return {
        inner: array
        for key, item in items.items()
        for inner, array in _arrays_in(item, f"{name}.{key}").items()
    }


def _kind(array):
    """What an array and the one that replaces it must share."""
    return array.shape, array.dtype.name


def _difference(wanted: dict, saved: dict) -> str:
    """The first array, by name, in which a checkpoint is not as it should be, in words."""

    def words(kinds, name):
        return "{} {}".format(*kinds[name]) if name in kinds else "none"

    names = sorted(n for n in wanted | saved if wanted.get(n) != saved.get(n))
    if not names:
        return "found other streams of random numbers, or other numbers of the optimizer"
    return f"expected {names[0]} {words(wanted, names[0])}, found {words(saved, names[0])}"


def _set_state(rng, state):
    """Set a random generator; InputError if this is no state of one."""
    try:
        rng.bit_generator.state = state
    except Exception as error:  # each kind of damage has an error of its own
        raise InputError(f"checkpoint: not the state of a random stream: {error}") from None


def _streams(model) -> dict:
    """The random generators of the feedback rules, by name; a rule that was not born has none."""
    rules = [layer.feedback for layer in weight_layers(model)]
    return {str(i): rule.rng for i, rule in enumerate(rules) if hasattr(rule, "rng")}


def _numbers(owner) -> dict:
    """The settings and counters of an optimizer or a rule, as numbers of Python's own.

    Those of an optimizer inside a rule are named after both: "adam.lr".
    """
    numbers = {}
    for name, value in vars(owner).items():
        if isinstance(value, Optimizer):
            numbers |= {f"{name}.{inner}": number for inner, number in _numbers(value).items()}
        if isinstance(plain(value), int | float):
            numbers[name] = plain(value)
    return numbers


def _numbers_of_rules(model) -> dict:
    """The settings and counters of the feedback rules: {"number of the layer.name": value}."""
    return {
        f"{i}.{name}": value
        for i, layer in enumerate(weight_layers(model))
        for name, value in _numbers(layer.feedback).items()
    }
