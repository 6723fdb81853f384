"""Rules from a file of the reader's own."""

import pytest

from nnref import models
from nnref.errors import InputError
from nnref.feedback import Backprop, FeedbackAlignment
from nnref.layers import Sequential
from nnref.rules import own
from nnref.rules.known import KNOWN

FILE = '''
from dataclasses import dataclass
from nnref.feedback import Feedback, FeedbackAlignment
from nnref.layers import Sequential

@dataclass
class Scaled(Feedback):
    """B = share W."""
    share: "float" = 0.5

    def __call__(self, W):
        return self.share * W

half, double = Scaled(), Scaled(2.0)

class Needy(Feedback):
    def __init__(self, share):
        pass

class Net(Sequential):
    """Another way down."""
    rule = FeedbackAlignment()

    def __init__(self, model, x):
        super().__init__(*model.layers)
        self.shape = x.shape

class Plain(Sequential):
    def __init__(self, model, x):
        super().__init__(*model.layers)

number = 3
'''


@pytest.fixture
def path(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path / "mine.py"


def test_classes_and_objects_are_found_in_a_file(path):
    assert own.rule_named(f"{path}:Scaled").rule.share == 0.5
    assert own.rule_named(f"{path}:double").rule.share == 2
    assert own.rule_named(f"{path}:Scaled").B == "B = share W."
    assert own.rule_named("backprop") is KNOWN["backprop"]


def test_a_network_of_the_readers_own_wraps_a_stock_one(path):
    known, model = own.rule_named(f"{path}:Net"), models.mlp([3], (4,), 2)
    assert isinstance(known.rule, FeedbackAlignment)
    net = known.network(model, model.layers[1].params["W"])
    assert isinstance(net, Sequential) and net.layers == model.layers
    assert isinstance(own.rule_named(f"{path}:Plain").rule, Backprop)


@pytest.mark.parametrize(
    "name, words",
    [
        ("absent", r"expected absent to be a class of Feedback or Sequential, found no such name"),
        (
            "number",
            r"expected number to be a class of Feedback or Sequential, found an object of int",
        ),
        ("dataclass", r"expected dataclass to be .* found an object of function"),
        ("Needy", r"expected Needy to need no arguments: .*share"),
    ],
)
def test_what_is_no_rule_is_refused_in_one_line(path, name, words):
    with pytest.raises(InputError, match=r"mine\.py: " + words) as e:
        own.rule_named(f"{path}:{name}")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("x = 1\ny = (", r"line 2: cannot be run: SyntaxError"),
        ("\n\nimport nnref.nothing", r"line 3: cannot be run: ModuleNotFoundError"),
        ("def f():\n    1 / 0\n\nf()", r"line 2: cannot be run: ZeroDivisionError"),
    ],
)
def test_a_file_that_cannot_be_run_is_one_line_with_its_place(tmp_path, text, words):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(InputError, match=r"bad\.py, " + words):
        own.rule_named(f"{tmp_path / 'bad.py'}:Rule")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.py: cannot be read"):
        own.rule_named(f"{tmp_path / 'gone.py'}:Rule")


def test_a_changed_file_gives_the_new_rule(path):
    before = own.content_hash(f"{path}:half")
    path.write_text(FILE.replace("0.5", "0.25"))
    assert own.rule_named(f"{path}:half").rule.share == 0.25
    assert own.content_hash(f"{path}:half") != before
    assert own.content_hash("backprop") == ""


def test_names_of_files_are_told_from_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert own.is_own("mine.py:Rule") and own.is_own("C:\\a b\\mine.py:Rule")
    for name in ("backprop", "mine.py", "mine.py:", "mine.txt:Rule", ":Rule", "mine.py:a b"):
        assert not own.is_own(name)
    assert own.parts("mine.py:Rule") == (tmp_path / "mine.py", "Rule")
    assert own.short(f"{tmp_path}/mine.py:Rule") == "mine.py:Rule" and own.short("sham") == "sham"
