"""The shape of the project: imports run downward, the reader's path stays short, the tree lean."""

import ast
import re
import tomllib
from pathlib import Path

import nnref
from nnref.cli import COMMANDS
from nnref.experiments import PAPERS, QUESTIONS

PACKAGE = Path(nnref.__file__).parent
ROOT = PACKAGE.parent

FLOORS = [  # a module imports only from lines above its own; a folder's own name is its __init__
    # the learner's shelf
    "nnref errors",
    "backend files",
    "init patches",
    "feedback",
    "layers.checks",
    "layers.base fast fast.memory fast.threads",
    "fast.few fast.pieces",
    "fast.conv fast.winograd",
    "fast.local fast.norm fast.pool fast.steps",
    "fast.cpu fast.gpu",  # backend.accelerated finds these by name when a twin is first called
    "layers.activations layers.compose layers.conv layers.linear",
    "layers.local layers.norm layers.pool",
    "layers",
    "losses optim models",
    "measure",
    # ways to carry an error
    "rules",
    "rules.inverse rules.mirror",
    "rules.targets",
    "rules.direct",
    "rules.microcircuit rules.microcircuit_ode",
    "rules.known",
    "rules.own",
    # data sets, from files to batches
    "data data.imageset data.transforms data.notices",
    "data.files data.files.fetch data.files.stores",
    "data.files.decode data.files.idx data.files.lists data.files.manifest data.cifar10",
    "data.files.cache data.files.layout data.mnist",
    "data.files.cut_mnist_subset data.imagefolder data.catalog",
    "train parallel parallel.job parallel.cost parallel.interrupts",
    "parallel.workers rules.alternating",
    "parallel.jobs",
    # mechanisms of the open questions
    "questions questions.pathways",
    "questions.dale questions.plasticity questions.late",
    "questions.transport",
    "parallel.ranks",
    # what draws, what trains in a folder, what checks
    "plots plots.looks plots.style",
    "plots.demo plots.runs plots.experiments plots.tutorials",
    "runs runs.checkpoint runs.record runs.score runs.settings",
    "tools tools.bench tools.notebooks tools.summary tools.gradcheck",
    "runs.report runs.compare runs.folder",
    "tools.demo tools.doctor tools.bench_jobs tools.bench_ranks runs.run",
    "runs.seeds",
    # the experiments
    "experiments experiments.images experiments.search experiments.record experiments.numbers",
    "experiments.plan experiments.result experiments.trial",
    "experiments.claims",
    "experiments.work experiments.budget",
    "experiments.network experiments.ledger experiments.study",
    "experiments.papers experiments.questions",
    *(f"experiments.papers.{name}" for name in PAPERS),
    "experiments.questions.one_synapse",
    *(f"experiments.questions.{name}" for name in QUESTIONS),
    "commands commands.options commands.terminal",
    "commands.compare",
    *(f"commands.{name}" for name in COMMANDS if name != "compare"),
    "cli",
    "__main__",
]
READERS_PATH = [
    "feedback.py",
    "layers/linear.py",
    "layers/activations.py",
    "patches.py",
    "layers/conv.py",
]


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in MODULES:
                    yield whole


def test_imports_run_downward():
    """But for two that find modules by name: backend.twins and experiments.find."""
    floor = {
        f"nnref.{name}".removesuffix(".nnref"): level
        for level, names in enumerate(FLOORS)
        for name in names.split()
    }
    assert set(floor) == set(MODULES)
    for name, path in MODULES.items():
        for imported in imports(path):
            if imported in floor:
                assert floor[imported] < floor[name], f"{name} imports {imported}"


def test_the_readers_path_has_at_most_340_lines():
    assert sum(len((PACKAGE / name).read_text().splitlines()) for name in READERS_PATH) <= 340


def test_no_function_outside_layers_and_models_has_more_than_eight_parameters():
    for name, path in MODULES.items():
        if "layers" in path.parts or path.name == "models.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                assert len(given) <= 8, f"{name}.{node.name}"


def test_every_public_name_is_explained():
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), name
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{name}.{node.name}"


def test_nothing_needs_what_python_leaves_out_with_OO():
    """Docstrings and assertions are for readers and tests."""
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.Assert), name
            assert "__doc__" not in (getattr(node, "attr", ""), getattr(node, "id", "")), name


def test_requirements_pin_what_pyproject_ranges_over():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ranges = project["dependencies"] + extras["dev"] + extras["imagenet"]
    ranged = {re.match(r"[a-z-]+", entry).group() for entry in ranges} - {"ruff"}
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if line and not line.startswith("#")}
    assert pinned == ranged
    assert not any(line.startswith("cupy") for line in lines)


def test_every_folder_of_code_is_a_package_and_so_installed():
    assert {path.parent for path in PACKAGE.rglob("*.py")} == {
        path.parent for path in PACKAGE.rglob("__init__.py")
    }


def test_all_that_is_neither_code_nor_words_is_installed_too():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    installed = {
        path
        for package, patterns in data.items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    files = {path for path in PACKAGE.rglob("*.*") if path.suffix not in (".py", ".pyc", ".md")}
    assert files == {path for path in installed if path.suffix != ".md"}


def test_few_files_lie_flat_in_nnref():
    assert len(list(PACKAGE.glob("*.py"))) <= 15
