"""Rules by name: those of known.py, and a reader's own as FILE.py:NAME.

`train --feedback mine.py:MyRule` runs the file and takes MyRule from it. NAME is one of

    a class of Feedback      called without arguments, such as class MyRule(Feedback)
    an object of Feedback    to set hyper-parameters: gentle = MyRule(0.1)
    a class of Sequential    a network of its own: called as MyNetwork(model, x) with a network of
                             the zoo and a batch x. Its attribute `rule`, if it has one, is the
                             rule of the layers, else they have Backprop()
"""

import hashlib
import sys
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType

from nnref.errors import InputError
from nnref.feedback import Backprop, Feedback
from nnref.files import read_text, user_path
from nnref.layers import Sequential
from nnref.rules.known import KNOWN, Known

LARGEST = 2**20  # bytes, of a file with a rule


def rule_named(name: str) -> Known:
    """A rule of known.py, or a reader's own. Raises InputError if there is none of this name."""
    if name in KNOWN:
        return KNOWN[name]
    path, wanted = parts(name)
    module = _module(path, read_text(path, LARGEST))
    found = vars(module).get(wanted)
    if isinstance(found, type) and issubclass(found, Sequential):
        return Known(getattr(found, "rule", Backprop()), _about(found), "", "", (), found)
    if isinstance(found, type) and issubclass(found, Feedback):
        try:
            found = found()
        except TypeError as error:
            raise InputError(f"{path}: expected {wanted} to need no arguments: {error}") from None
    if not isinstance(found, Feedback):
        what = f"an object of {type(found).__name__}" if wanted in vars(module) else "no such name"
        raise InputError(
            f"{path}: expected {wanted} to be a class of Feedback or Sequential, found {what}"
        )
    return Known(found, _about(type(found)), "", "", ())


def parts(name: str) -> tuple[Path, str]:
    """(path of the file, the same from any folder; name in it) of a reader's own rule."""
    path, _, wanted = name.rpartition(":")
    return user_path(path).absolute(), wanted


def is_own(name: str) -> bool:
    """Whether this is the name of a reader's own rule: FILE.py:NAME."""
    path, _, wanted = name.rpartition(":")
    return path.endswith(".py") and wanted.isidentifier()


def short(name: str) -> str:
    """A name for titles and tables: of a file, without its folder."""
    return name.replace("\\", "/").rpartition("/")[2] if is_own(name) else name


def content_hash(name: str) -> str:
    """SHA-256 of the file of a reader's own rule; empty for a rule of known.py."""
    if name in KNOWN:
        return ""
    path, _ = parts(name)
    return hashlib.sha256(read_text(path, LARGEST).encode()).hexdigest()


@cache
def _module(path: Path, text: str) -> ModuleType:
    """The module that this text makes: the file is read once, and run once for each content."""
    module = ModuleType(f"nnref_own_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look there for their module
    try:
        exec(compile(text, path, "exec"), vars(module))
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{path}, line {line}: cannot be run: {words}") from None
    return module


def _about(kind: type) -> str:
    """The first line of a class's own docstring."""
    return (vars(kind).get("__doc__") or "of the reader's own").strip().splitlines()[0]
