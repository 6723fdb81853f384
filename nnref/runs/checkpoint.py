"""Checkpoints: one file with everything that training needs to continue, bit for bit.

The file is an .npz of NumPy's, so np.load reads it; it holds no pickle. The comment at its end, 64
characters, is the SHA-256 of every byte before it: a file that is damaged anywhere is not loaded.
It holds parameters, BatchNorm's running averages, the matrices of the feedback rules and the
optimizer, the states of the random streams, and the progress of the training.
"""

import dataclasses
import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np

from nnref.backend import to_device, to_host, xp
from nnref.errors import InputError
from nnref.files import write_whole
from nnref.measure import weight_layers
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
        "facts": facts,
    }
    contents |= {"text": np.array(json.dumps(text)), "loss_sum": loss_sum}
    write_whole(path, _sealed(contents))


def _sealed(contents: dict) -> bytes:
    """The bytes of an .npz whose comment is the hash of the rest."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **contents)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"0" * COMMENT
    rest = buffer.getvalue()[:-COMMENT]
    return rest + hashlib.sha256(rest).hexdigest().encode()


def read(path: Path) -> dict:
    """Read a checkpoint: {name: NumPy array}. Raises InputError if any byte is damaged."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(content[:-COMMENT]).hexdigest().encode() != content[-COMMENT:]:
        raise InputError(f"{path}: damaged, or not a checkpoint of nnref: its hash differs")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def facts_of(contents: dict) -> dict:
    """The `facts` that were saved with a checkpoint."""
    return json.loads(str(contents["text"]))["facts"]


def restore(contents: dict, model, optimizer) -> Progress:
    """Load a checkpoint into a model and an optimizer that were made like the saved ones.

    Returns the progress of the training. Raises InputError, with nothing changed, if they differ.
    """
    text, arrays = json.loads(str(contents["text"])), _arrays(model, optimizer)
    streams, numbers = _streams(model), _numbers(optimizer)
    saved = {name: contents[name].shape for name in contents if name not in ("text", "loss_sum")}
    wanted = {name: array.shape for name, array in arrays.items()}
    if saved != wanted or text["streams"].keys() != streams.keys() or (
        text["numbers"].keys() != numbers.keys()
    ):  # fmt: skip
        differing = {*saved.items()} ^ {*wanted.items()} or {"optimizer or feedback"}
        raise InputError(f"checkpoint: of another network or optimizer: {min(map(str, differing))}")
    for name, array in arrays.items():
        array[...] = to_device(contents[name])
    for name, rng in streams.items():
        rng.bit_generator.state = text["streams"][name]
    for name, value in text["numbers"].items():
        setattr(optimizer, name, value)
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
        for name, value in vars(layer.feedback).items():
            if isinstance(value, xp.ndarray):
                arrays[f"feedback{i}.{name}"] = value
    for name, value in vars(optimizer).items():
        if isinstance(value, list) and all(isinstance(item, xp.ndarray) for item in value):
            arrays |= {f"optimizer.{name}{i}": array for i, array in enumerate(value)}
    return arrays


def _streams(model) -> dict:
    """The random generators of the feedback rules, by name."""
    return {str(i): layer.feedback.rng for i, layer in enumerate(weight_layers(model))}


def _numbers(optimizer) -> dict:
    """The optimizer's settings and counters."""
    return {
        name: value for name, value in vars(optimizer).items() if isinstance(value, int | float)
    }
