"""What can be known of the GPU path without a GPU: CuPy itself and NVIDIA's compiler are asked.

CuPy's wheel imports without a driver, and the compiler that it uses, NVRTC, is a wheel too:
`pip install -e ".[cuda-check]"` installs both, and these tests run. They read the source of nnref.

They follow `xp`, `cupy`, `cupyx` and what is imported from these; variables that hold, and
functions of the same module that return, what a call of these gives; and the names of methods and
attributes of arrays. They do not see what comes out of a container, an argument or another module
(such as the event in `slot[1].synchronize()`), nor which values an argument may have, nor what is
computed: for these there is tests/standin.py, and a GPU.
"""

import ast
import functools
import importlib
import inspect
import itertools
import pkgutil
import re
import types
import warnings
from typing import NamedTuple

import documents
import numpy as np
import pytest
from test_house import PACKAGE, ROOT

HOW = 'pip install -e ".[cuda-check]"'
cupy = pytest.importorskip("cupy", reason=f"CuPy is not installed: {HOW}")
if cupy.__version__ == "stand-in":
    pytest.skip("the stand-in is not CuPy", allow_module_level=True)
pytestmark = pytest.mark.cupy

from cupy.cuda import nvrtc  # noqa: E402  (only where there is CuPy)

with warnings.catch_warnings(action="ignore"):  # NCCL may be missing; its Python is there
    distributed = importlib.import_module("cupyx.distributed")

ARCHITECTURES = [70, 80, 90, 100]  # V100, A100, H100, B200
ADDED = ("-ftz=true", "--device-as-default-execution-space")  # by CuPy, to the options of a kernel
PAGES = [ROOT / "README.md", *sorted((ROOT / "tutorials").glob("*.md"))]
RETURNS = {  # what CuPy's functions do not say themselves
    cupy.cuda.get_current_stream: cupy.cuda.Stream,
    cupy.cuda.Stream.record: cupy.cuda.Event,
    cupy.get_default_memory_pool: cupy.cuda.MemoryPool,
    cupy.RawModule.get_function: cupy.RawKernel,
    distributed.init_process_group: distributed.NCCLBackend,
}
HOST = ["data/files", "fast", "plots"]  # arrays there are NumPy's, but for fast/gpu.py
NOT_ARRAYS = {("data/transforms.py", "resize")}  # a method of Pillow's images


class Instance(NamedTuple):
    """Some object of a class."""

    kind: type


class Reader(ast.NodeVisitor):
    """Reads a statement of a module, and notes what is asked of CuPy and what of it is missing.

    `names` holds the expressions that stand for something of CuPy, such as {"xp": cupy}, `results`
    the functions that return such. A variable has the meaning that the assignment above gives it.
    """

    def __init__(self, names, results):
        self.names, self.results, self.asked, self.faults = dict(names), results, set(), []

    def meaning(self, node):
        """The object of CuPy, or the Instance, that an expression stands for; else None."""
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in self.names:
            return self.names[ast.unparse(node)]
        if isinstance(node, ast.Attribute):
            owner = self.meaning(node.value)
            found = (
                None if owner is None else getattr(getattr(owner, "kind", owner), node.attr, None)
            )
            return found if not isinstance(owner, Instance) or callable(found) else None
        if isinstance(node, ast.Call):
            function = self.meaning(node.func)
            own = self.results.get(ast.unparse(node.func).removeprefix("self."))
            return own if function is None else returned(function)

    def visit_Attribute(self, node):
        owner = self.meaning(node.value)
        if owner is not None and isinstance(node.ctx, ast.Load):
            self.asked.add(ast.unparse(node))
            if not hasattr(getattr(owner, "kind", owner), node.attr):
                self.fault(node, f"CuPy has no {ast.unparse(node)}")
        self.generic_visit(node)
        self.forget(node)

    def visit_Name(self, node):
        self.forget(node)

    def visit_Call(self, node):
        function = self.meaning(node.func)
        owner = self.meaning(node.func.value) if isinstance(node.func, ast.Attribute) else function
        bound = isinstance(owner, Instance)
        if isinstance(function, Instance):
            function = function.kind.__call__
        if callable(function):
            try:
                bind(function, node, bound)
            except TypeError as error:
                self.fault(node, f"{ast.unparse(node)}: {error}")
        self.generic_visit(node)

    def visit_Assign(self, node):
        self.visit(node.value)
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            meanings = [(place, self.meaning(value)) for place, value in pairs]
            self.visit(target)
            for place, meaning in meanings:
                if meaning is not None:
                    self.names[ast.unparse(place)] = meaning

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        returns = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return)]
        for meaning in map(self.meaning, returns):
            if isinstance(meaning, Instance):
                self.results[node.name] = meaning

    def forget(self, node):
        """What is assigned anew has another meaning; but `xp` is CuPy here."""
        if isinstance(node.ctx, ast.Store) and ast.unparse(node) != "xp":
            self.names.pop(ast.unparse(node), None)

    def fault(self, node, text):
        self.faults.append(f"line {node.lineno}: {text}")


def returned(function):
    """What a call of this object of CuPy returns, as an Instance; None if that is not known."""
    if isinstance(function, type):
        return Instance(function)
    if isinstance(function, types.ModuleType | Instance | None):
        return None
    annotation = getattr(function, "__annotations__", {}).get("return", "")
    if isinstance(function, cupy.ufunc) or str(annotation).startswith("NDArray"):
        return Instance(cupy.ndarray)
    kind = RETURNS.get(function) if function.__hash__ else None
    return kind and Instance(kind)


def bind(function, call, bound):
    """Raise TypeError if the function does not take as many arguments, or these keywords."""
    given = [argument for argument in call.args if not isinstance(argument, ast.Starred)]
    keywords = {keyword.arg: keyword for keyword in call.keywords if keyword.arg}
    whole = len(given) == len(call.args) and len(keywords) == len(call.keywords)
    taken = signature(function)
    (taken.bind if whole else taken.bind_partial)(*[None] * bound, *given, **keywords)


def signature(function):
    """The parameters that a function takes; of compiled ones as their documentation begins."""
    try:
        return inspect.signature(function)
    except ValueError:
        line = (function.__doc__ or "").strip().partition("\n")[0]
    documented = re.search(r"\((.*?)\)", line.replace("\\", "").replace("=()", "=None"))
    if documented is None:
        raise TypeError(f"{function} does not say what it takes")
    parts = documented[1].split(",")
    # "int device=-1" -> "device=None"
    named = (re.sub(r".*?([*/\w]+) *(=.*)?$", parameter, part.strip()) for part in parts)
    return inspect.signature(eval(f"lambda {', '.join(named)}: None"))


def parameter(match):
    return f"{match[1]}=None" if match[2] else match[1]


def imported(tree, reader):
    """Let the reader know the names of CuPy that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for whole, name in [(alias.name, alias.asname) for alias in node.names]:
                if of_cupy(whole):
                    look_up(reader, node, whole)
                    known = whole if name else whole.partition(".")[0]
                    reader.names[name or known] = look_up(reader, node, known)
        elif isinstance(node, ast.ImportFrom) and of_cupy(node.module or ""):
            for alias in node.names:
                found = look_up(reader, node, f"{node.module}.{alias.name}")
                reader.names[alias.asname or alias.name] = found


def of_cupy(module):
    return module.partition(".")[0] in ("cupy", "cupyx")


def look_up(reader, node, name):
    """The module, or what is in it, of this whole name."""
    reader.asked.add(name)
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        reader.fault(node, f"{name}: {error}")


def read(code):
    """(what a module asks of CuPy, what of that CuPy does not have)."""
    tree, results = ast.parse(code), {}
    for _ in range(2):  # a function may stand below the one that calls it
        module = Reader({"xp": cupy, "backend.xp": cupy}, results)
        imported(tree, module)
        for statement in tree.body:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):  # with variables of its own
                inner = Reader(module.names, results)
                inner.visit(statement)
                module.asked |= inner.asked
                module.faults += inner.faults
            else:
                module.visit(statement)
    return module.asked, module.faults


def array_faults(code):
    """(name, fault) of methods, attributes and keywords of NumPy's arrays that CuPy's lack.

    By their names alone: whatever the value is, it could be an array.
    """
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and node.attr in lacking():
            yield node.attr, f"line {node.lineno}: CuPy's arrays have no {node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, owner = node.func.attr, ast.unparse(node.func.value)
            if owner not in ("np", "xp") and callable(getattr(np.ndarray, name, None)):
                for keyword in {keyword.arg for keyword in node.keywords} & lacking(name):
                    text = f"line {node.lineno}: CuPy's arrays: no {keyword}= in .{name}()"
                    yield name, text


@functools.cache
def lacking(method=None):
    """What NumPy's arrays have and CuPy's do not; with a method's name: of its keywords."""
    if method is None:
        return set(dir(np.ndarray)) - set(dir(cupy.ndarray)) - set(dir(object))
    if not hasattr(cupy.ndarray, method) or method in dir(object):
        return set()  # what every object has is not an array's own
    functions = [getattr(np.ndarray, method), getattr(np, method, None)]
    known = [set(signature(function).parameters) for function in functions if function]
    return set().union(*known) - set(signature(getattr(cupy.ndarray, method)).parameters)


SOURCES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.filterwarnings("ignore:(?s).*nccl")
@pytest.mark.parametrize("name", SOURCES)
def test_cupy_has_what_a_module_asks_for(name):
    assert not read(SOURCES[name].read_text())[1]


@pytest.mark.filterwarnings("ignore:(?s).*nccl")
def test_cupy_has_what_pages_and_tests_ask_for():
    for page in PAGES:
        for code, _ in documents.blocks(page):
            assert not read(code)[1], page.name
    for path in (ROOT / "tests").glob("*.py"):
        assert not read(path.read_text())[1], path.name


def test_the_reader_follows_variables():
    """So that a fault can be found at all."""
    asked, _ = read(SOURCES["fast/gpu.py"].read_text())
    assert {
        "xp.matmul",
        "xp.RawModule",
        "cupyx.empty_like_pinned",
        "x.set",
        "crossing.wait_event",
        "xp.cuda.get_current_stream().record",
        "_module(dtype, word).get_function",
    } <= asked
    assert {"stop.synchronize", "xp.get_default_memory_pool().total_bytes"} <= read(
        SOURCES["tools/bench.py"].read_text()
    )[0]


@pytest.mark.parametrize("name", [name for name in SOURCES if not name.startswith(tuple(HOST))])
def test_arrays_of_cupy_have_what_a_module_asks_of_arrays(name):
    faults = array_faults(SOURCES[name].read_text())
    assert not [text for attribute, text in faults if (name, attribute) not in NOT_ARRAYS]


def test_methods_that_every_object_has_are_no_question_for_cupy():
    """A class may call its base's `__init_subclass__(**keywords)`, which is no array's."""
    code = "super().__init_subclass__(scale=1)\nx.__format__(spec=1)\nx.__setattr__(name='a')"
    assert not list(array_faults(code))


def test_arrays_of_cupy_have_what_the_twins_ask_of_arrays():
    assert not list(array_faults(SOURCES["fast/gpu.py"].read_text()))


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("xp.maximun(x, 0)", "no xp.maximun"),
        ("xp.maximum(x, 0, into=y)", "into"),
        ("xp.maximum(x)", "x2"),
        ("xp.matmul(a, b, into=c)", "into"),
        ("xp.sum(x, axes=0)", "axes"),
        ("xp.linalg.norms(x)", "no xp.linalg.norms"),
        ("xp.cuda.Steam()", "no xp.cuda.Steam"),
        ("xp.cuda.Stream(non_block=True)", "non_block"),
        ("xp.cuda.Device(1, 2)", "too many"),
        ("xp.RawModule(code=c, option=())", "option"),
        ("xp.RawModule(code=c).get_kernel('f')", "get_kernel"),
        ("a, b = xp.cuda.Event(), 1\na.synchronise()", "no a.synchronise"),
        ("def f(x):\n    y = xp.empty(3)\n    y.set(x, streams=s)", "streams"),
        ("def f():\n    import cupyx as c\n    c.full_pinned()", "no c.full_pinned"),
        ("from cupyx import empty_like_pined", "empty_like_pined"),
        ("from cupyx import empty_like_pinned as e\ne(a, types=1)", "types"),
        ("import cupyx.distribute", "cupyx.distribute"),
        ("from cupyx import distributed as d\nd.init_process_group(2, 0, mpi=True)", "mpi"),
        ("def f():\n    return xp.RawModule(code=c)\nf().get_function()", "name"),
        ("k = xp.RawModule(code=c).get_function('f')\nk((1,), (2,))", "args"),
        (
            "import cupyx.distributed\n"
            "class Ranks:\n"
            "    def __init__(self):\n"
            "        self.all = self.start()\n"
            "    def add(self, a):\n"
            "        self.all.all_reduce(a, a, operation='sum')\n"
            "    def start(self):\n"
            "        return cupyx.distributed.init_process_group(2, 0, use_mpi=True)",
            "operation",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:(?s).*nccl")
def test_what_cupy_lacks_is_found(code, fault):
    (found,) = read(code)[1]
    assert fault in found


@pytest.mark.parametrize(
    "code", ["a.resize(3)", "a.b.max(axis=1, initial=0)", "f(a).take(i, mode=m)"]
)
def test_what_its_arrays_lack_is_found(code):
    assert len(list(array_faults(code))) == 1


def test_what_is_there_is_no_fault():
    code = "a.max(axis=1, keepdims=True)\nresult.mean(data='mnist')\nnp.max(a, initial=0)"
    assert not list(array_faults(code))
    code = "xp.sqrt(x, out=y)\nxp.ones(*shape, dtype=d)\nx = xp.cuda.Event()\nx = 3\nx.real"
    assert not read(code)[1]


def machine_code(code, options, architecture):
    """(the kernels in CUDA source, the compiler's words). Raises AssertionError with its errors."""
    program = nvrtc.createProgram(code, "kernels.cu", [], [])
    options = (*options, *ADDED, f"--gpu-architecture=sm_{architecture}")
    try:
        nvrtc.compileProgram(program, options)
        kernels = re.findall(rb"\.entry (\w+)", nvrtc.getPTX(program))
        assert nvrtc.getCUBIN(program)
        return {name.decode() for name in kernels}, nvrtc.getProgramLog(program)
    except nvrtc.NVRTCError:
        raise AssertionError(nvrtc.getProgramLog(program)) from None
    finally:
        nvrtc.destroyProgram(program)


def launched(code):
    """The names of kernels that gpu.py looks up: what it passes for a first parameter `name`."""
    tree = ast.parse(code)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.args.args]
    launching = {f.name for f in functions if f.args.args[0].arg == "name"}
    first = [call.args[0] for call in calls if ast.unparse(call.func) in launching]
    return {node.value for node in first if isinstance(node, ast.Constant)}


@pytest.fixture
def gpu(monkeypatch):
    """fast/gpu.py, whose modules are (source, options) instead of compiled; there is a compiler."""
    try:
        nvrtc.getVersion()
    except RuntimeError as error:
        pytest.skip(f"NVIDIA's compiler NVRTC is not installed: {HOW} ({error})")
    from nnref.fast import gpu

    uncompiled = types.SimpleNamespace(RawModule=lambda code, options: (code, options))
    monkeypatch.setattr(gpu, "xp", uncompiled)
    return gpu


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvidias_compiler_compiles_every_kernel_that_is_launched(architecture, gpu):
    """In every variant that gpu.py can ask for, without a warning about the code."""
    if architecture not in nvrtc.getSupportedArchs():
        pytest.skip(f"NVRTC {nvrtc.getVersion()} no longer knows {architecture}")
    names = launched(SOURCES["fast/gpu.py"].read_text())
    for dtype, word in itertools.product(gpu.TYPES, gpu.WORDS.values()):
        found, log = machine_code(*gpu._module.__wrapped__(dtype, word), architecture)
        assert found == names
        assert not [line for line in log.splitlines() if line and "Architectures prior" not in line]


def test_an_error_in_a_kernel_is_found(gpu):
    code, options = gpu._module.__wrapped__("f", "float4")
    with pytest.raises(AssertionError, match=r"error: identifier .largest. is undefined"):
        machine_code(code.replace("largest = row[0]", "largst = row[0]"), options, 80)
    found, _ = machine_code(code.replace("void sgd(", "void sdg("), options, 80)
    assert found != launched(SOURCES["fast/gpu.py"].read_text())


def test_kernels_stand_in_one_place():
    """Those elsewhere would not be compiled here."""
    makers = re.compile(r"RawModule|RawKernel|ElementwiseKernel|ReductionKernel|\bfuse\(")
    assert [name for name in SOURCES if makers.search(SOURCES[name].read_text())] == ["fast/gpu.py"]
