"""`python -m nnref train`: train a network of the zoo on a data set, or continue a run."""

import argparse
import sys

from nnref.commands.compare import show
from nnref.commands.options import MOST_SEEDS, add_backend, add_jobs, count, place
from nnref.errors import InputError
from nnref.parallel import ranks
from nnref.parallel.workers import over_mpi, workers
from nnref.runs import run as runs
from nnref.runs import seeds
from nnref.runs.settings import FIELDS, Settings, flag, from_text, read_toml

EXAMPLES = {
    "--model mlp --epochs 3 --out runs/bp": "the shipped digits; a report in runs/bp",
    "--model mlp --epochs 3 --feedback sign-symmetry --seeds 3 --out runs/ss": "another, 3 seeds",
    "--resume runs/bp": "continue a run that was stopped",
    "--data imagefolder:photos --size 64 --model resnet18": "your photographs, a folder a class",
}


def add_options(command):
    """One option for each setting, and where to write."""
    add = command.add_argument
    add("config", nargs="?", type=place, metavar="FILE.toml", help="settings; flags override it")
    add("--out", type=place, metavar="DIR", help="new folder for the run; default: save nothing")
    add("--resume", type=place, metavar="DIR", help="continue the run in this folder")
    add("--seeds", type=count(1, MOST_SEEDS), metavar="N", help="train with N seeds, then compare")
    add_jobs(add)
    add("--save-every", type=count(1), default=60, metavar="SECONDS", help="default: 60")
    add("--no-cache", action="store_true", help="imagefolder: decode the images in every epoch")
    for name, field in FIELDS.items():
        what, _, _ = field.metadata["check"]
        default = "" if field.default is None else f"; default: {field.default}"
        text = f"{field.metadata['about']} ({what}{default})"
        add(flag(name), default=argparse.SUPPRESS, metavar="X", help=text)
    add_backend(add)


def run(options) -> int:
    """Train from the beginning, with one seed or several, or continue a run."""
    if options.config and not options.config.is_file():
        problem = f"expected a file of settings (.toml), found {options.config}; a rule: --feedback"
        raise InputError(f"train: {problem}")
    given = read_toml(options.config) if options.config else {}
    for name in FIELDS:
        if hasattr(options, name):  # flags that were not given are absent
            given[name] = from_text(name, getattr(options, name))
    if options.jobs and not options.seeds:
        raise InputError("--jobs: expected --seeds as well: a single training is a single job")
    if over_mpi() and not options.seeds:
        raise InputError("mpi4py.futures: expected --seeds; python -m mpi4py shares one training")
    how = {"save_every": options.save_every, "cache": not options.no_cache}
    if options.resume:
        if options.out or options.seeds:
            raise InputError("--resume: expected no --out or --seeds, found one of them")
        runs.resume(options.resume, given, **how)
        return 0
    settings = Settings(**given)
    if ranks.started() and options.seeds:
        raise InputError("--seeds: expected one training on all ranks, start one for each --seed")
    if not options.seeds:
        runs.start(options.out, settings, **how)
        return 0
    if not options.out:
        raise InputError("--seeds: expected --out as well, a folder for the runs")
    try:
        with workers(options.jobs, options.seeds) as pool:
            folders = seeds.repeat(options.out, settings, options.seeds, how, pool)
    except KeyboardInterrupt:
        print("\nthe same command continues", file=sys.stderr)
        raise
    return show(folders, options.out / "compare.png")
