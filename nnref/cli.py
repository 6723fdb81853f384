"""The command line: `python -m nnref`. The only place where a name becomes a feedback rule."""

import argparse
import json
from pathlib import Path

from nnref import demo, plots
from nnref.errors import InputError
from nnref.feedback import (
    Backprop,
    FeedbackAlignment,
    FixedMagnitudes,
    NoFeedback,
    RedrawnMagnitudes,
    Sham,
    SignedInit,
    SignSymmetry,
)
from nnref.files import check_writable, make_folder, write_whole

RULES = {
    "backprop": Backprop(),
    "sham": Sham(),
    "sign-symmetry": SignSymmetry(),
    "fixed-magnitudes": FixedMagnitudes(),
    "redrawn-magnitudes": RedrawnMagnitudes(),
    "signed-init": SignedInit(),
    "feedback-alignment": FeedbackAlignment(),
    "last-layer-only": NoFeedback(),
}
DEMO_RULES = "backprop,sign-symmetry,feedback-alignment,last-layer-only"


def main(arguments: list[str]) -> int:
    """Run one command; return the exit status. Raises InputError for anything the user can mend."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["demo", *arguments]
    options = _parser().parse_args(arguments)
    return options.run(options)


def run_demo(options) -> int:
    """`python -m nnref demo`: train, print the table, write the figure and the record."""
    figure = options.out / "nnref-demo.png"
    if options.json:
        check_writable(options.json)
    make_folder(options.out)
    check_writable(figure)
    sizes = "-".join(map(str, demo.SIZES))
    print(
        f"nnref demo: one network ({sizes}, ReLU), one start, one order of digits; only B differs."
    )
    rules = {name: RULES[name] for name in options.rules}
    record = demo.run(rules, options.seed, options.epochs)
    plots.save(plots.demo(record), figure)
    if options.json:
        write_whole(options.json, (json.dumps(record, indent=1) + "\n").encode())
    print(f"{record['data']}; epochs: {options.epochs}, seed: {options.seed}.\n")
    print(demo.table(record))
    print(
        "\nAngles in degrees: 0 the same direction, 90 unrelated, - nothing sent, "
        "() a B that is never used."
        f"\nFigure: {figure}. Total: {record['wall_s']:.0f} s."
    )
    return 0


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message):
        raise InputError(f"{message} (try {self.prog} --help)")


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m nnref",
        description="Learning with a swappable feedback matrix. Without a command: demo.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "demo",
        help="train one network under several rules on real digits, in under a minute",
        description="Train the same network from the same start under several feedback rules.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--seed", type=_at_least(0), default=0, help="of everything random")
    command.add_argument("--epochs", type=_at_least(1), default=demo.EPOCHS, help="for each rule")
    command.add_argument(
        "--rules",
        type=_rule_names,
        default=_rule_names(DEMO_RULES),
        metavar="A,B,...",
        help=f"of {', '.join(RULES)}",
    )
    command.add_argument("--json", type=Path, metavar="PATH", help="write the record there too")
    command.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="for the figure")
    command.set_defaults(run=run_demo)
    return parser


def _at_least(smallest: int):
    """An argparse type: a whole number that is not below `smallest`."""

    def parse(text):
        if not text.strip().isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {smallest}, found {text!r}"
            )
        return int(text)

    return parse


def _rule_names(text: str) -> list[str]:
    """An argparse type: names of rules, with commas between."""
    names = text.split(",")
    for name in names:
        if name not in RULES:
            raise argparse.ArgumentTypeError(
                f"expected rules of {', '.join(RULES)}, found {name!r}"
            )
    return names
