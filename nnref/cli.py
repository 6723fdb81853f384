"""The command line: `python -m nnref COMMAND`."""

import argparse
import json
from pathlib import Path

from nnref import experiments
from nnref.backend import describe, xp
from nnref.backend import flags as device_flags
from nnref.data import catalog
from nnref.errors import InputError
from nnref.experiments.images import Sources
from nnref.experiments.result import Result
from nnref.experiments.study import Study
from nnref.files import check_writable, make_folder, write_whole
from nnref.plots import style
from nnref.plots.demo import demo as draw_demo
from nnref.plots.runs import comparison
from nnref.rules.known import RULES
from nnref.runs import compare, run
from nnref.runs.settings import FIELDS, MODELS, Settings, flag, from_text, read_toml
from nnref.tools import demo, doctor, gradcheck

DEMO_RULES = "backprop,sign-symmetry,feedback-alignment,last-layer-only"


def main(arguments: list[str]) -> int:
    """Run one command; return the exit status. Raises InputError for what the user can correct."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["demo", *arguments]
    options = _parser().parse_args(arguments)
    _check_backend(options)
    return options.run(options)


def _check_backend(options):
    """Refuse --backend if another one is already imported, and --tf32 without CuPy."""
    if getattr(options, "backend", None) not in (None, xp.__name__):
        raise InputError(f"--backend: nnref is already imported with {xp.__name__}")
    if getattr(options, "tf32", False) and xp.__name__ != "cupy":
        raise InputError("--tf32: only for --backend cupy")


def run_demo(options) -> int:
    """`python -m nnref demo`: train, print the table, write the figure and the record."""
    figure = options.out / "nnref-demo.png"
    if options.json:
        check_writable(options.json)
    make_folder(options.out)
    check_writable(figure)
    sizes = "-".join(map(str, demo.SIZES))
    print(
        f"nnref demo: {sizes}, ReLU; the same initial weights and order of digits, only B differs."
    )
    rules = {name: RULES[name] for name in options.rules}
    record = demo.run(rules, options.seed, options.epochs)
    style.save(draw_demo(record), figure)
    if options.json:
        write_whole(options.json, (json.dumps(record, indent=1) + "\n").encode())
    print(f"{record['data']}; epochs: {options.epochs}, seed: {options.seed}.\n")
    print(demo.table(record))
    print(
        "\nAngles in degrees: 0 = same direction, 90 = unrelated, - = nothing sent, "
        "() = a B that is never used."
        f"\nFigure: {figure}. Total: {record['wall_s']:.0f} s."
    )
    return 0


def run_train(options) -> int:
    """`python -m nnref train`: train a model on a data set, or continue a run."""
    given = read_toml(options.config) if options.config else {}
    for name in FIELDS:
        if hasattr(options, name):  # flags that were not given are absent
            given[name] = from_text(name, getattr(options, name))
    if options.resume:
        if options.out or options.seeds:
            raise InputError("--resume: expected no --out or --seeds, found one of them")
        run.resume(options.resume, given, options.save_every)
        return 0
    settings = Settings(**given)
    if not options.seeds:
        run.start(options.out, settings, options.save_every)
        return 0
    if run.ranks.started():
        raise InputError("--seeds: expected one training on all ranks, start one for each --seed")
    if not options.out:
        raise InputError("--seeds: expected --out as well, a folder for the runs")
    folders = run.repeat(options.out, settings, options.seeds, options.save_every)
    return _compare(folders, options.out / "compare.png")


def run_compare(options) -> int:
    """`python -m nnref compare`: a table and a figure of several runs."""
    return _compare(options.runs, options.out)


def _compare(folders, figure) -> int:
    groups = compare.read(folders)
    check_writable(figure)
    print(compare.table(groups))
    style.save(comparison(groups), figure)
    print(f"figure: {figure}")
    return 0


def run_gradcheck(options) -> int:
    """`python -m nnref gradcheck`: check gradients; exit status 1 if one is wrong."""
    return gradcheck.run(options.model, MODELS[options.model])


def run_bench(options) -> int:
    """`python -m nnref bench`: time training steps, print a table, write the record if asked."""
    from nnref.tools import bench  # here, since only bench needs nnref/fast

    if options.json:
        check_writable(options.json)
    for name in options.models:
        if name not in bench.CASES:
            raise InputError(f"--models: expected one of {', '.join(bench.CASES)}, found {name!r}")
    names = options.models or list(bench.CASES)
    print(describe())
    record = bench.run(names, options.against == "torch", options.batch, options.width)
    if options.json:
        write_whole(options.json, (json.dumps(record, indent=1) + "\n").encode())
    return 0


def run_replicate(options) -> int:
    """`python -m nnref replicate`: carry out an experiment, print its table, write its result."""
    name, out = options.name, options.out or Path("replications") / f"{options.name}-{options.tier}"
    experiment = experiments.find(name)
    places = {"cifar10": options.cifar10, "tiny-imagenet": options.tiny_imagenet}
    for data_set, path in places.items():
        if path is not None and not path.exists():
            raise InputError(f"--{data_set}: expected class folders or an archive, found no {path}")
    flags = "".join(f" --{data_set} PATH" for data_set, path in places.items() if path)
    flags += f" --seeds {options.seeds}" if options.seeds else ""
    command = f"python -m nnref replicate {name} --tier {options.tier}{flags}{device_flags()}"
    print(f"{name}, {options.tier}: takes {experiment.MINUTES[options.tier]}; {describe()}")
    print(f"if interrupted, the same command continues; results: {out}")
    study = Study(name, options.tier, out, command)
    sources = Sources(options.cifar10, options.tiny_imagenet)
    result = Result(study.carry_out(experiment, sources, options.seeds))
    if not result.record["trials"]:
        raise InputError(f"{name}: nothing could be run; {', '.join(study.missing)} left out")
    print(experiment.table(result))
    for claim in experiment.claims(result) if options.tier != "smoke" else ():
        print(f"{claim.verdict}: {claim.text}; measured: {claim.ours}")
    for figure, drawn in experiment.figures(result).items():
        style.save(drawn, out / f"{name}-{figure}.png")
    return 0


def run_doctor(options) -> int:
    """`python -m nnref doctor`: test the installation; exit status 0 or 1."""
    return doctor.run()


def run_data_list(options) -> int:
    """`python -m nnref data list`: name, place, size and terms of every data set."""
    print(catalog.describe())
    return 0


def run_data_fetch(options) -> int:
    """`python -m nnref data fetch NAME`: download missing files and verify them."""
    print(f"{options.name}: verified; load it with {catalog.fetch_by_name(options.name)}")
    return 0


def run_data_verify(options) -> int:
    """`python -m nnref data verify NAME_OR_PATH`: exit status 1 if a file's hash differs."""
    written, place, count, wrong = catalog.verify_by_name(options.name)
    for problem in wrong:
        print(problem)
    if written:
        print(f"{place}: written, {count:,} hashes; later calls of verify compare with them")
    else:
        print(f"{place}: {count:,} files checked, {len(wrong)} wrong")
    return 1 if wrong else 0


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message):
        raise InputError(f"{message} (try {self.prog} --help)")


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m nnref",
        description="Learning with a swappable feedback matrix. The default command is demo.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "demo",
        help="train one network under several rules on real digits, in under a minute",
        description="Train a network from the same initial weights under several rules.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--seed", type=_at_least(0), default=0, help="of all random numbers")
    command.add_argument("--epochs", type=_at_least(1), default=demo.EPOCHS, help="per rule")
    command.add_argument(
        "--rules",
        type=_rule_names,
        default=_rule_names(DEMO_RULES),
        metavar="A,B,...",
        help=f"some of {', '.join(RULES)}",
    )
    command.add_argument("--json", type=Path, metavar="PATH", help="also write the record here")
    command.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="for the figure")
    _add_backend(command.add_argument)
    command.set_defaults(run=run_demo)
    _add_train(commands)
    _add_compare(commands)
    _add_data(commands)
    _add_bench(commands)
    _add_replicate(commands)
    command = commands.add_parser(
        "doctor", help="show what is installed, test that it works", allow_abbrev=False
    )
    _add_backend(command.add_argument)
    command.set_defaults(run=run_doctor)
    return parser


def _add_train(commands):
    """The options of `train`: one for each setting, and where to write."""
    command = commands.add_parser(
        "train",
        help="train a network of the zoo on a data set",
        description="Train a network of the zoo on a data set under a feedback rule.",
        allow_abbrev=False,
    )
    add = command.add_argument
    add("config", nargs="?", type=Path, metavar="FILE.toml", help="settings; flags override it")
    add("--out", type=Path, metavar="DIR", help="new folder for the run; default: save nothing")
    add("--resume", type=Path, metavar="DIR", help="continue the run in this folder")
    add("--seeds", type=_at_least(1), metavar="N", help="train with N seeds, then compare")
    add("--save-every", type=_at_least(1), default=60, metavar="SECONDS", help="default: 60")
    for name, field in FIELDS.items():
        what, _, _ = field.metadata["check"]
        default = "" if field.default is None else f"; default: {field.default}"
        text = f"{field.metadata['about']} ({what}{default})"
        add(flag(name), default=argparse.SUPPRESS, metavar="X", help=text)
    _add_backend(add)
    command.set_defaults(run=run_train)


def _add_compare(commands):
    """The options of `compare` and of `gradcheck`."""
    command = commands.add_parser(
        "compare", help="a table and a figure of several runs", allow_abbrev=False
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="folders of runs")
    command.add_argument("--out", type=Path, default=Path("compare.png"), metavar="PNG")
    command.set_defaults(run=run_compare)
    command = commands.add_parser(
        "gradcheck", help="check gradients against finite differences", allow_abbrev=False
    )
    command.add_argument("model", choices=MODELS)
    _add_backend(command.add_argument)
    command.set_defaults(run=run_gradcheck)


def _add_data(commands):
    """The commands of `data`."""
    command = commands.add_parser(
        "data", help="list, fetch or verify data sets", allow_abbrev=False
    )
    actions = command.add_subparsers(required=True, metavar="list|fetch|verify")
    action = actions.add_parser("list", help="name, place, size and terms of every data set")
    action.set_defaults(run=run_data_list)
    action = actions.add_parser("fetch", help="download a data set and verify it")
    action.add_argument("name", metavar="NAME", help=f"one of {', '.join(catalog.DATA_SETS)}")
    action.set_defaults(run=run_data_fetch)
    action = actions.add_parser(
        "verify", help="compare with published hashes, or with those that the first call writes"
    )
    action.add_argument("name", metavar="NAME_OR_PATH")
    action.set_defaults(run=run_data_verify)


def _add_bench(commands):
    """The options of `bench`."""
    command = commands.add_parser(
        "bench",
        help="time training steps; compare with a matrix product and PyTorch",
        description="Time the training steps of the zoo under BP, SS and FA.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = command.add_argument
    add("--against", choices=["torch"], help="also time the steps in PyTorch")
    add("--models", type=lambda text: text.split(","), default=[], metavar="A,B,...", help="or all")
    add("--batch", type=_at_least(2), help="images in a batch, if not the usual number")
    add("--width", type=float, default=1, help="multiplies all numbers of channels and units")
    add("--json", type=Path, metavar="PATH", help="also write the record here")
    _add_backend(add)
    command.set_defaults(run=run_bench)


def _add_replicate(commands):
    """The options of `replicate`."""
    command = commands.add_parser(
        "replicate",
        help="carry out the experiments of a paper, scaled down or in full",
        description="Carry out the experiments of a paper and check its claims against the result.",
        allow_abbrev=False,
    )
    add = command.add_argument
    add("name", choices=experiments.EXPERIMENTS)
    add("--tier", choices=["smoke", "small", "full"], default="small", help="default: small")
    add("--out", type=Path, metavar="DIR", help="default: replications/NAME-TIER")
    add("--seeds", type=_at_least(1), metavar="N", help="number of seeds; default: the tier's")
    for name in ("cifar10", "tiny-imagenet"):
        add(
            f"--{name}",
            type=Path,
            metavar="PATH",
            help="class folders or an archive, in place of `data fetch`",
        )
    _add_backend(add)
    command.set_defaults(run=run_replicate)


def _add_backend(add):
    """The options of the device; __main__.py reads them before the backend is imported."""
    add("--backend", choices=["numpy", "cupy"], help="cupy: compute on a GPU")
    add("--tf32", action="store_true", help="cupy: faster products, rounded to 10 bits")


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
    """An argparse type: names of rules, separated by commas."""
    names = text.split(",")
    for name in names:
        if name not in RULES:
            raise argparse.ArgumentTypeError(f"expected one of {', '.join(RULES)}, found {name!r}")
    return names
