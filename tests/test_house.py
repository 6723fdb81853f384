"""The shape of the project: imports run downward, the reader's path stays short, the tree lean."""

import ast
import re
import tomllib
from pathlib import Path

import nnref
from nnref.replicate import REPLICATIONS

PACKAGE = Path(nnref.__file__).parent
ROOT = PACKAGE.parent

FLOORS = [  # a module imports only from lines above its own
    ["nnref", "nnref.errors"],
    ["nnref.backend", "nnref.files"],
    ["nnref.init", "nnref.patches", "nnref.losses"],
    ["nnref.feedback"],
    ["nnref.layers.base", "nnref.fast", "nnref.fast.memory", "nnref.fast.threads"],
    ["nnref.fast.conv", "nnref.fast.winograd"],
    ["nnref.fast.local"],
    ["nnref.fast.cpu", "nnref.fast.gpu"],
    [
        f"nnref.layers.{name}"
        for name in ("activations", "compose", "conv", "linear", "locally", "norm", "pool")
    ],
    ["nnref.layers"],
    ["nnref.optim", "nnref.models"],
    ["nnref.measure", "nnref.summary"],
    ["nnref.pathways"],
    ["nnref.dale", "nnref.plasticity"],
    ["nnref.transport"],
    [f"nnref.data{name}" for name in ("", ".idx", ".imageset", ".fetch", ".stores", ".transforms")],
    [f"nnref.data.{name}" for name in ("decode", "lists", "manifest", "mnist", "cifar10")],
    ["nnref.data.cache"],
    ["nnref.data.imagefolder", "nnref.data.catalog"],
    ["nnref.data.cut_mnist_subset", "nnref.train", "nnref.plots"],
    ["nnref.checkpoint", "nnref.settings", "nnref.late"],
    [f"nnref.{name}" for name in ("bench", "doctor", "report", "compare", "gradcheck")],
    ["nnref.demo"],
    ["nnref.run", "nnref.replicate", "nnref.replicate.figures", "nnref.replicate.networks"],
    ["nnref.replicate.sources", "nnref.replicate.trials", "nnref.replicate.ledger"],
    ["nnref.replicate.claims"],
    [f"nnref.replicate.{paper}" for paper in REPLICATIONS],
    ["nnref.cli"],
    ["nnref.__main__"],
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
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    assert set(floor) == set(MODULES)
    for name, path in MODULES.items():
        for imported in imports(path):
            if imported in floor:
                assert floor[imported] < floor[name], f"{name} imports {imported}"


def test_the_readers_path_is_under_350_lines():
    assert sum(len((PACKAGE / name).read_text().splitlines()) for name in READERS_PATH) < 350


def test_every_public_name_is_explained():
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), name
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{name}.{node.name}"


def test_requirements_pin_what_pyproject_ranges_over():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ranges = project["dependencies"] + extras["dev"] + extras["imagenet"]
    ranged = {re.match(r"[a-z]+", entry).group() for entry in ranges} - {"ruff"}
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if line and not line.startswith("#")}
    assert pinned == ranged
    assert not any(line.startswith("cupy") for line in lines)


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {module_name(path) for path in PACKAGE.rglob("__init__.py")}
    assert set(listed) == folders
