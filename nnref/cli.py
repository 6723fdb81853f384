"""The command line: `python -m nnref COMMAND`. Every command is a file in nnref/commands."""

import argparse
import importlib
from types import MappingProxyType

from nnref.errors import InputError
from nnref.parallel.interrupts import interrupts_waiting

COMMANDS = {
    "demo": "train one network under several rules on real digits, in about a minute",
    "train": "train a network of the zoo on a data set under a feedback rule",
    "compare": "a table and a figure of several runs",
    "gradcheck": "check gradients against finite differences",
    "data": "list, fetch or verify data sets",
    "bench": "time training steps; compare with a matrix product and PyTorch",
    "replicate": "carry out an experiment, of a paper or of our own; check its claims",
    "doctor": "show what is installed, test that it works",
}
EXAMPLES = {  # arguments -> what for
    "": "the demo",
    "train --model lenet --feedback sign-symmetry --out runs/ss": "the digits that ship with nnref",
    "replicate akrout2019 --tier smoke": "a paper's experiment, in seconds",
    "train --help": "all options of a command, with examples",
}
ENVIRONMENT = """environment variables:
  NNREF_DATA       a folder with data sets that need not be downloaded
  NNREF_BACKEND    numpy (the default) or cupy, for all commands and in Python
  NNREF_THREADS    how many threads compute and load images; default: all cores
  NNREF_FAST=0     compute with the readable code alone, without nnref/fast"""


def main(arguments: list[str], program: str = "python -m nnref") -> int:
    """Run one command; return the exit status. Raises InputError for what the user can correct."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["demo", *arguments]
    _check_values(arguments)
    with interrupts_waiting():  # NumPy would answer Ctrl-C in its import with an ImportError
        options, unknown = _parser(arguments[0], program).parse_known_args(arguments)
        if unknown:
            options.refuse(f"unrecognized arguments: {' '.join(unknown)}")
    _check_backend(options)
    return options.run(options)


def _check_values(arguments):
    """Refuse --name=--, of which argparse makes an empty list before Python 3.13."""
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name.startswith("--") and value == "--":
            raise InputError(f"{name}: expected a value, found '--'")


def _check_backend(options):
    """Refuse --backend if another one is already imported, and --tf32 without CuPy."""
    from nnref.backend import xp  # here, since --help needs no arrays

    if getattr(options, "backend", None) not in (None, xp.__name__):
        raise InputError(f"--backend: nnref is already imported with {xp.__name__}")
    if getattr(options, "tf32", False) and xp.__name__ != "cupy":
        raise InputError("--tf32: only for --backend cupy")


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and whose help ends in examples."""

    examples = MappingProxyType({})  # arguments -> what for

    def format_help(self):
        """The help and the examples."""
        lines = ["\nexamples:\n"] if self.examples else []
        for words, what in self.examples.items():
            lines.append(f"  # {what}\n  {self.prog} {words}".rstrip() + "\n")
        return super().format_help() + "".join(lines)

    def print_help(self, file=None):
        """Print the help; unlike argparse, do not keep quiet about a full disk."""
        print(self.format_help(), end="", file=file)

    def error(self, message):
        raise InputError(f"{message} (try {self.prog} --help)")


def _parser(asked: str, program: str = "python -m nnref") -> _Parser:
    """The parser of all commands; only the one that is asked for is imported."""
    parser = _Parser(
        prog=program,
        description="Learning with a swappable feedback matrix. The default command is demo.",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=ENVIRONMENT,
    )
    parser.examples = EXAMPLES
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        description = f"{text[0].upper()}{text[1:]}."
        command = commands.add_parser(name, help=text, description=description, allow_abbrev=False)
        if name == asked:
            module = importlib.import_module(f"nnref.commands.{name}")
            module.add_options(command)
            command.examples = module.EXAMPLES
            command.set_defaults(run=module.run, refuse=command.error)
    return parser
