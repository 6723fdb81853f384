"""`python -m nnref data list|fetch|verify`: what data there is, and whether it is whole."""

from nnref.data import catalog
from nnref.errors import one_line

EXAMPLES = {
    "list": "all data sets, with their places",
    "fetch cifar10": "170 MB, once",
    "verify photos": "compare with hashes that the first call writes",
}


def add_options(command):
    """The three actions."""
    actions = command.add_subparsers(required=True, metavar="list|fetch|verify")
    action = actions.add_parser("list", help="name, place, size and terms of every data set")
    action.set_defaults(act=_list)
    action = actions.add_parser("fetch", help="download a data set and verify it")
    action.add_argument("name", metavar="NAME", help=f"one of {', '.join(catalog.DATA_SETS)}")
    action.set_defaults(act=_fetch)
    action = actions.add_parser(
        "verify", help="compare with published hashes, or with those that the first call writes"
    )
    action.add_argument("name", metavar="NAME_OR_PATH")
    action.set_defaults(act=_verify)


def run(options) -> int:
    """Carry out the action; `verify` has exit status 1 if a file's hash differs."""
    return options.act(options)


def _list(options):
    print(catalog.describe())
    return 0


def _fetch(options):
    how = catalog.fetch_by_name(options.name)
    print(one_line(f"{options.name}: verified; load it with {how}"))
    return 0


def _verify(options):
    written, place, count, wrong = catalog.verify_by_name(options.name)
    for problem in wrong:
        print(one_line(problem))
    found = f"{count:,} files checked, {len(wrong)} wrong"
    if written:
        found = f"written, {count:,} hashes; later calls of verify compare with them"
    print(one_line(f"{place}: {found}"))
    return 1 if wrong else 0
