"""Change one operator or number in a core file, and see whether the file's own tests notice it.

    python tests/mutate.py 40 --seed 1                  40 random changes in the files of CORE
    python tests/mutate.py 20 nnref/optim.py            20 in this file

Each change is made in a copy of the project, where the tests of the changed file run. Printed are
the changes that no test notices: holes in the tests, or changes without a difference, such as < to
<= where both ways compute the same. Left out are words of messages, arguments strict=True, and in
nnref/fast the constants at the top, which say how fast something is and not what it computes.
"""

import argparse
import ast
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORE = ["feedback.py", "init.py", "losses.py", "measure.py", "optim.py", "patches.py", "train.py"]
CORE += ["layers/*.py", "fast/*.py", "runs/checkpoint.py", "data/imageset.py", "data/transforms.py"]
CORE += ["questions/dale.py", "questions/late.py", "questions/plasticity.py"]
LEFT_OUT = ["gpu.py", "__init__.py"]  # the twins for a GPU do not run here
TESTS = {"fast": "fast twins", "layers": "layers feedback"}  # by folder
TESTS |= {"patches": "patches layers", "norm": "layers twins", "base": "layers measure"}  # by file
TESTS["checks"] = "layers optim losses"
SECONDS = 300  # for the tests of a change; whatever takes longer is noticed
SWAPPED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Mod: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
CHANGED = {bool: lambda v: not v, int: lambda v: v - 1 if v == 1 else v + 1}
CHANGED[float] = lambda v: 1.5 * v + 0.1


def changes(tree, fast: bool):
    """Yield (node, function that changes it) for all that can be changed in a module."""
    parts = [part for part in tree.body if fast and isinstance(part, ast.Assign)]
    parts += [part for part in ast.walk(tree) if isinstance(part, ast.JoinedStr)]
    parts += [p for p in ast.walk(tree) if isinstance(p, ast.keyword) and p.arg == "strict"]
    left_out = {id(node) for part in parts for node in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        op = SWAPPED.get(type(getattr(node, "op", None)))
        if op:
            yield node, lambda node=node, op=op: setattr(node, "op", op())
        for i, one in enumerate(getattr(node, "ops", [])):
            if type(one) in SWAPPED:
                op = SWAPPED[type(one)]
                yield node, lambda node=node, i=i, op=op: node.ops.__setitem__(i, op())
        if isinstance(node, ast.Constant) and type(node.value) in CHANGED:
            value = CHANGED[type(node.value)](node.value)
            yield node, lambda node=node, value=value: setattr(node, "value", value)


def noticed(copy: Path, path: Path) -> bool:
    """Whether the tests of a file fail in the copy of the project."""
    names = TESTS.get(path.stem) or TESTS.get(path.parent.name) or path.stem
    tests = [f"tests/test_{name}.py" for name in names.split()]
    command = [sys.executable, "-B", "-m", "pytest", "-qx", "-p", "no:cacheprovider", *tests]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": SECONDS}
    try:
        return subprocess.run(command, cwd=copy, **quiet).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def main():
    """Make the changes, print those that are not noticed, and the rate."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("count", type=int)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    files = [f for name in CORE for f in (ROOT / "nnref").glob(name) if f.name not in LEFT_OUT]
    found = []
    for path in sorted(file.resolve() for file in given.files or files):
        tree = ast.parse(path.read_text())
        count = len(list(changes(tree, path.parent.name == "fast")))
        found += [(path.relative_to(ROOT), i) for i in range(count)]
    chosen = random.Random(given.seed).sample(found, min(given.count, len(found)))
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("nnref", "tests"):
            shutil.copytree(ROOT / name, copy / name)
        shutil.copy(ROOT / "pyproject.toml", copy)
        for path in {path for path, _ in chosen}:
            assert not noticed(copy, path), f"the tests of {path} fail before any change"
        for path, i in chosen:
            text = (copy / path).read_text()
            tree = ast.parse(text)
            node, change = list(changes(tree, path.parent.name == "fast"))[i]
            was = ast.unparse(node)
            change()
            (copy / path).write_text(ast.unparse(tree))
            if not noticed(copy, path):
                missed += 1
                print(f"{path}:{node.lineno}  {was}  ->  {ast.unparse(node)}", flush=True)
            (copy / path).write_text(text)
    print(f"{len(chosen) - missed} of {len(chosen)} changes were noticed")


if __name__ == "__main__":
    main()
