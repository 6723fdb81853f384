"""`python -m nnref compare`: a table and a figure of several runs."""

from pathlib import Path

from nnref import plots
from nnref.commands.options import place
from nnref.errors import one_line
from nnref.files import check_writable
from nnref.runs import compare

EXAMPLES = {
    "runs/bp runs/ss": "a table, and a figure in compare.png",
    "runs/ss --out ss.png": "the seeds of one setting: mean and spread",
}


def add_options(command):
    """The folders, and where to draw."""
    command.add_argument("runs", nargs="+", type=place, metavar="DIR", help="folders of runs")
    command.add_argument(
        "--out", type=place, default=Path("compare.png"), metavar="PNG",
        help="the figure; default: compare.png in the current folder",
    )  # fmt: skip


def run(options) -> int:
    """Print the table, write the figure."""
    return show(options.runs, options.out)


def show(folders: list[Path], figure: Path) -> int:
    """Print a table of the runs in these folders, write a figure."""
    groups = compare.read(folders)
    check_writable(figure)
    print(compare.table(groups))
    if plots.drawn(figure, lambda: plots.style.save(plots.runs.comparison(groups), figure)):
        print(one_line(f"figure: {figure}"))
    return 0
