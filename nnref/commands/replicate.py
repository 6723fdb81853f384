"""`python -m nnref replicate`: carry out an experiment, print its table, write its result."""

import argparse
import sys
from pathlib import Path
from shlex import quote

from nnref import experiments, plots
from nnref.backend import describe, flags
from nnref.commands.options import MOST_SEEDS, add_backend, add_jobs, count, place
from nnref.errors import InputError, one_line
from nnref.experiments.images import Sources
from nnref.experiments.result import Result
from nnref.experiments.study import Study
from nnref.files import owned
from nnref.parallel.workers import workers

PLACES = ("cifar10", "tiny-imagenet")
EXAMPLES = {
    "akrout2019 --tier smoke": "in seconds: does it run?",
    "akrout2019 --tier small": "first says how long it takes; stopped, the same command continues",
    "xiao2018 --tier full --backend cupy": "at full length, on a GPU",
}


def add_options(command):
    """Which experiment, how much of it, and where."""
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    about = (f"  {name:<16}{text}" for name, text in experiments.EXPERIMENTS.items())
    command.epilog = "\n".join(["experiments:", *about])
    add = command.add_argument
    add("name", choices=experiments.EXPERIMENTS, metavar="NAME", help="of an experiment, see below")
    add("--tier", choices=["smoke", "small", "full"], default="small", help="default: small")
    add("--out", type=place, metavar="DIR", help="default: replications/NAME-TIER")
    add("--seeds", type=count(1, MOST_SEEDS), metavar="N", help="how many; default: the tier's")
    add_jobs(add)
    text = "class folders, or a .zip or .tar of them; default: the set is downloaded once"
    for name in PLACES:
        add(f"--{name}", type=place, metavar="PATH", help=text)
    add_backend(add)


def run(options) -> int:
    """Say how long it takes, carry out all trials, print the table and the claims."""
    name, out = options.name, options.out or Path("replications") / f"{options.name}-{options.tier}"
    sources = _sources(options)
    with owned(out), workers(options.jobs) as pool:
        study = Study(name, options.tier, out, sources, options.seeds, _command(options))
        study.plan()
        if not study.planned:
            raise InputError(f"{name}: nothing could be run; {', '.join(study.missing)} left out")
        print(f"{name}, {options.tier}: {study.how_far()}; {describe()}, jobs: {pool.count}")
        results = f"if interrupted, the same command continues; results: {out}"
        print(one_line(results), flush=True)
        if study.how_many_left():
            print(f"timing this machine: {study.how_long(pool)}", flush=True)
        try:
            result = Result(study.carry_out(pool, shown=sys.stderr.isatty()))
        except KeyboardInterrupt:
            print(f"\n{name}: {study.how_far()}; the same command continues", file=sys.stderr)
            raise
    experiment = experiments.find(name)
    print(experiment.table(result))
    if options.tier == "smoke":
        print(_what_ran(result))
    else:
        for claim in experiment.claims(result):
            print(f"{claim.verdict}: {claim.text}; measured: {claim.ours}")
    plots.drawn(out, lambda: _draw(experiment.figures(result), out, name))
    return 0


def _what_ran(result: Result) -> str:
    """The numbers of a smoke run, in one line, and why its table has gaps."""
    accuracies = [round(accuracy) for accuracy in result.accuracies()]
    span = f", test accuracy {min(accuracies)} to {max(accuracies)} %" if accuracies else ""
    return (
        f"smoke: {len(result.trials())} trials ran{span}; too short to say more, and - stands for "
        "what only a longer tier measures"
    )


def _draw(figures, out, name):
    """Write the figures of an experiment."""
    for figure, drawn in figures.items():
        plots.style.save(drawn, out / f"{name}-{figure}.png")


def _sources(options) -> Sources:
    """The places that were given, which must exist."""
    places = {name: getattr(options, name.replace("-", "_")) for name in PLACES}
    for data_set, path in places.items():
        if path is not None and not path.exists():
            raise InputError(f"--{data_set}: expected class folders or an archive, found no {path}")
    return Sources(options.cifar10, options.tiny_imagenet)


def _command(options) -> str:
    """The command that makes the result again, with PATH for places on this machine."""
    given = {
        "tier": options.tier, "out": options.out and "PATH", "cifar10": options.cifar10 and "PATH",
        "tiny-imagenet": options.tiny_imagenet and "PATH", "seeds": options.seeds,
    }  # fmt: skip
    words = "".join(f" --{name} {quote(str(value))}" for name, value in given.items() if value)
    return f"python -m nnref replicate {options.name}{words}{flags()}"
