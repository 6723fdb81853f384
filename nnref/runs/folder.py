"""What the folder of a run holds: its settings, its checkpoints, and whether it can go on.

run.py says which files there are. Nothing here trains.
"""

import dataclasses
import re
import sys
from pathlib import Path
from shlex import quote

from nnref.errors import InputError
from nnref.files import check_shape, make_folder, read_json
from nnref.parallel import ranks
from nnref.runs import checkpoint
from nnref.runs.record import FACTS, RESULT, RUN
from nnref.runs.settings import FIELDS, Settings, flag, read_toml


def holds_a_run(folder: Path) -> bool:
    """Whether this folder holds a run, finished or not."""
    names = ("config.toml", "result.json", "checkpoints/*.npz")
    return any(any(folder.glob(name)) for name in names)


def check_new(folder):
    """Raise InputError if this folder holds a run."""
    if folder is not None and holds_a_run(folder):
        again = f"--resume {quote(str(folder))} continues it"
        raise InputError(f"{folder}: holds a run; {again}; or take another --out")


def what_stands(folder, given):
    """(settings, facts, result if it is finished) of the run in a folder.

    Raises InputError if there is no run, or one of other settings.
    """
    if not (folder / "config.toml").is_file():
        raise InputError(f"{folder}: expected the folder of a run, found no config.toml in it")
    settings = Settings(**read_toml(folder / "config.toml"))
    _check_same(folder, given, dataclasses.asdict(settings))
    if _is_finished(folder):
        return settings, {}, read_json(folder / "result.json", RESULT)
    return settings, read_json(folder / "run.json", RUN), None


def _is_finished(folder) -> bool:
    """Whether there is a result, and a report of it, unless nothing is left to draw it from."""
    drawn = (folder / "report.html").is_file() or not checkpoints(folder)
    return (folder / "result.json").is_file() and drawn


def left_off(folder, settings):
    """What to continue from: the contents of the newest checkpoint, or None.

    Deletes files that an interrupt left half written, and sets damaged checkpoints aside (newest).
    Raises InputError if the checkpoint is of other settings or of another number of ranks.
    """
    make_folder(folder / "checkpoints")
    for left_over in (folder / "checkpoints").glob(".*.tmp"):
        left_over.unlink()
    contents = newest(folder)
    if contents:  # config.toml may have been edited since
        facts = check_shape(checkpoint.facts_of(contents), FACTS, folder / "checkpoints")
        _check_same(folder, dataclasses.asdict(settings), facts["settings"])
        check_ranks(folder, facts)
    return contents


def ranks_fact() -> dict:
    """What a folder and a checkpoint say about the number of ranks: nothing if there is one."""
    size = ranks.world().size
    return {"ranks": size} if size > 1 else {}


def check_ranks(folder, facts):
    """Raise InputError if the run in this folder is one of another number of ranks."""
    there, size = facts.get("ranks", 1), ranks.world().size
    if there != size:
        again = f"{ranks.command(there)} train --resume {quote(str(folder))}"
        raise InputError(
            f"{folder}: expected as many ranks as before, {there}, not {size}; {again}"
        )


def _check_same(folder, given: dict, there: dict):
    """Raise InputError, naming them, if settings differ from those of the run in the folder."""
    there = {name: there[name] for name in FIELDS if name in there}
    asked, there = (dataclasses.asdict(Settings(**s)) for s in (there | given, there))
    differing = [
        f"{flag(name)} {value} (there {there[name]})"
        for name, value in asked.items()
        if value != there[name]
    ]
    if differing:
        raise InputError(f"{folder}: expected its own settings, found {', '.join(differing)}")


def newest(folder: Path) -> dict | None:
    """The contents of the newest undamaged checkpoint; None if there are no checkpoints.

    Names damaged ones on stderr and renames them, so that no later step takes one of them for the
    newest. Raises InputError, and renames none, if all are damaged.
    """
    paths, damaged = checkpoints(folder), []
    for path in reversed(paths):
        try:
            contents = checkpoint.read(path)
        except InputError as error:
            print(f"nnref: {error}; trying the one before it", file=sys.stderr)
            damaged.append(path)
            continue
        for broken in damaged:
            broken.rename(broken.with_name(f"damaged-{broken.name}"))
        return contents
    if paths:
        raise InputError(f"{folder}: every checkpoint is damaged; train into a new folder")
    return None


def checkpoints(folder) -> list[Path]:
    """The checkpoints that training can continue from, oldest first: EPOCH-STEP.npz."""
    found = [p for p in (folder / "checkpoints").glob("[0-9]*.npz") if p.is_file()]
    return sorted(found, key=lambda path: [int(n) for n in re.findall("[0-9]+", path.stem)])
