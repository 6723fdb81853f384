"""`python -m nnref demo`: train one network under several rules, draw and print the result."""

import argparse
import json
import math
from pathlib import Path

from nnref import plots
from nnref.commands.options import add_backend, count, place
from nnref.errors import one_line
from nnref.files import check_writable, make_folder, write_whole
from nnref.rules.known import KNOWN
from nnref.rules.own import is_own
from nnref.tools import demo

WORDS = {  # below the table, with and without --angles
    False: """
angle: between what the first layer learns from (delta) and what backpropagation would teach it,
in degrees. 0: the same direction; 90: unrelated; -: no error arrives.""",
    True: """
Angles in degrees: 0 = same direction, 90 = unrelated, - = nothing sent; in brackets: the B of
layer 1, which is never used, since there is no layer below.""",
}
SHOWN = "backprop,sign-symmetry,feedback-alignment,last-layer-only"
EXAMPLES = {
    "--epochs 3 --seed 1": "shorter, from other random numbers",
    "--rules backprop,kolen-pollack,weight-mirror": "other rules",
}


def add_options(command):
    """Seed, epochs, rules, and where to write."""
    add = command.add_argument
    add("--seed", type=count(0, math.inf), default=0, help="of all random numbers; default: 0")
    add("--epochs", type=count(1), default=demo.EPOCHS, help=f"per rule; default: {demo.EPOCHS}")
    names = f"some of {', '.join(KNOWN)}, or FILE.py:NAME; default: {SHOWN}"
    add("--rules", type=_rule_names, default=_rule_names(SHOWN), metavar="A,B,...", help=names)
    add("--angles", action="store_true", help="print both angles of every layer")
    add("--json", type=place, metavar="PATH", help="also write the record here")
    add("--out", type=place, default=Path(), metavar="DIR", help="for the figure; default: .")
    add_backend(add)


def _rule_names(text: str) -> list[str]:
    """An argparse type: names of rules, separated by commas."""
    names = text.split(",")
    for name in names:
        if name not in KNOWN and not is_own(name):
            expected = f"one of {', '.join(KNOWN)}, or FILE.py:NAME"
            raise argparse.ArgumentTypeError(f"expected {expected}, found {name!r}")
    return names


def run(options) -> int:
    """Train, print the table, write the figure and the record."""
    figure = options.out / "nnref-demo.png"
    if options.json:
        check_writable(options.json)
    make_folder(options.out)
    check_writable(figure)
    sizes = "-".join(map(str, demo.SIZES))
    print(
        f"nnref demo: {sizes}, ReLU; the same initial weights and order of digits, only B differs."
    )
    record = demo.run(options.rules, options.seed, options.epochs)
    if options.json:
        write_whole(options.json, (json.dumps(record, indent=1) + "\n").encode())
    print(f"{record['data']}; epochs: {options.epochs}, seed: {options.seed}.\n")
    print(demo.table_of_angles(record) if options.angles else demo.table(record))
    print(WORDS[options.angles])
    drawn = plots.drawn(figure, lambda: plots.style.save(plots.demo.demo(record), figure))
    print(one_line(f"{f'Figure: {figure}. ' if drawn else ''}Total: {record['wall_s']:.0f} s."))
    return 0
