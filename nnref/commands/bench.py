"""`python -m nnref bench`: time training steps, trainings side by side, or, with mpiexec, ranks."""

import json

from nnref.backend import describe
from nnref.commands.options import MOST_JOBS, add_backend, count, place
from nnref.errors import InputError
from nnref.files import check_writable, write_whole
from nnref.parallel import ranks
from nnref.runs.settings import from_text
from nnref.tools import bench, bench_jobs, bench_ranks

EXAMPLES = {
    "--models mlp,lenet": "two networks",
    "--models lenet --against torch": "beside PyTorch",
    "--jobs 2 --models mlp": "two trainings side by side",
}


def add_options(command):
    """What to time, and against what."""
    add = command.add_argument
    add("--against", choices=["torch"], help="also time the steps in PyTorch")
    add("--jobs", type=count(2, MOST_JOBS), metavar="N", help="time trainings side by side instead")
    names = f"some of {', '.join(bench.CASES)}; default: all"
    add("--models", type=lambda text: text.split(","), default=[], metavar="A,B,...", help=names)
    add("--batch", type=count(2), help="images in a batch, if not the usual number")
    add("--width", default="1", help="multiplies all numbers of channels and units; default: 1")
    add("--json", type=place, metavar="PATH", help="also write the record here")
    add_backend(add)


def run(options) -> int:
    """Measure, print a table, write the record if asked."""
    if options.json:
        check_writable(options.json)
    if options.jobs and options.against:
        raise InputError("--jobs: expected no --against, which times steps one after the other")
    if ranks.started() and (options.jobs or options.against):
        raise InputError("mpiexec: expected neither --jobs nor --against, which need one process")
    for name in options.models:
        if name not in bench.CASES:
            raise InputError(f"--models: expected one of {', '.join(bench.CASES)}, found {name!r}")
    names = options.models or list(bench.CASES)
    width = from_text("width", options.width)
    print(describe())
    if ranks.started():
        record = bench_ranks.run(names, ranks.world(), options.batch, width)
    elif options.jobs:
        record = bench_jobs.run(names, options.jobs, options.batch, width)
    else:
        record = bench.run(names, options.against == "torch", options.batch, width)
    if options.json and ranks.world().rank == 0:
        write_whole(options.json, (json.dumps(record, indent=1) + "\n").encode())
    return 0
