"""Settings: flags and files say the same, and what cannot be is one line that names it."""

import dataclasses
import math
import shlex
from pathlib import Path

import pytest

from nnref.errors import InputError
from nnref.rules.direct import DirectFeedback
from nnref.runs import settings
from nnref.runs.settings import FIELDS, Settings, as_flags, as_toml, from_text, read_toml

OTHER = Settings(
    data="imagefolder:a b.zip", size=32, classes=5, per_class=7, val=0.25, model="mlp", width=0.5,
    feedback="sign-symmetry", last_feedback="backprop", lr=0.5, momentum=0.5, weight_decay=0.25,
    schedule="step:3", epochs=4, batch_size=8, seed=9,
)  # fmt: skip


@pytest.mark.parametrize("run", [Settings(), OTHER], ids=["defaults", "others"])
def test_a_file_gives_back_what_was_written(run, tmp_path):
    (tmp_path / "run.toml").write_text(as_toml(run))
    assert Settings(**read_toml(tmp_path / "run.toml")) == run
    assert all(name in as_toml(run) for name in FIELDS)


def test_flags_give_back_what_they_say():
    words = as_flags(dataclasses.replace(OTHER, data="imagefolder:a.zip")).split()
    pairs = zip(words[::2], words[1::2], strict=True)
    given = {flag[2:].replace("-", "_"): text for flag, text in pairs}
    found = Settings(**{name: from_text(name, text) for name, text in given.items()})
    assert found == dataclasses.replace(OTHER, data="imagefolder:a.zip")
    assert as_flags(Settings()) == ""
    spaced = as_flags(Settings(data="imagefolder:/my photos"))
    assert shlex.split(spaced) == ["--data", "imagefolder:/my photos"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr = ", "not TOML: "),
        ("learning_rate = 1", "expected one of data, size, "),
        ("lr = '0.1'", "--lr: expected a number above 0, found '0.1'"),
        ("lr = true", "--lr: expected a number above 0, found True"),
        ("lr = inf", "--lr: expected a number above 0, found inf"),
        ("lr = " + "9" * 400, "--lr: expected a number above 0, found inf"),
        ("lr = " + "[" * 3000, "not TOML: "),
        ("width = 1e300", "--width: expected a number above 0, at most 1000, found 1e+300"),
        ("epochs = 2.0", "--epochs: expected a whole number from 1 to 1,000,000,000, found 2.0"),
        ("epochs = true", "--epochs: expected a whole number from 1 to 1,000,000,000, found True"),
        ("model = ['mlp']", "--model: expected one of mlp, "),
        ("[run]\nlr = 0.1", "expected one of data, "),
        ("feedback = 'Backprop'", "--feedback: expected one of backprop, "),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(text, message, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        read_toml(path)
    assert str(raised.value).startswith(f"{path}: {message}")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_text_is_one_line(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"run\.toml: cannot be read: it is not text"):
        read_toml(tmp_path / "run.toml")


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_has_a_default_that_it_allows_and_says_what_it_is(name):
    default, (what, kind, _) = FIELDS[name].default, FIELDS[name].metadata["check"]
    assert FIELDS[name].metadata["about"] and what
    assert default is None or (type(default) is kind and settings.checked(name, default) == default)
    with pytest.raises(InputError, match=f"^{settings.flag(name)}: expected "):
        settings.checked(name, math.nan if kind is float else object())


def test_schedules_are_those_of_optim(digits):
    train, _ = digits
    for name, at_three in (("constant", None), ("step:2", 0.05), ("cosine", 0.25)):
        run = Settings(model="mlp", lr=0.5, schedule=name, epochs=6)
        _, optimizer, schedule = settings.build(run, train)
        assert optimizer.lr == 0.5
        assert (schedule is None) == (name == "constant")
        assert schedule is None or schedule(3.0) == pytest.approx(at_three)


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_a_rule_may_make_a_network_of_its_own(model, digits):
    train, _ = digits
    network, _, _ = settings.build(Settings(model=model, feedback="direct-feedback"), train)
    assert type(network) is DirectFeedback


@pytest.mark.parametrize("rules", ["direct-feedback backprop", "backprop direct-feedback"])
def test_a_rule_for_all_layers_is_not_mixed_with_another(rules):
    feedback, last = rules.split()
    message = "^--last-feedback: direct-feedback is a rule for all layers alone$"
    with pytest.raises(InputError, match=message):
        settings.rules_of(Settings(feedback=feedback, last_feedback=last))


@pytest.mark.parametrize("name", ["epochs", "batch_size", "size", "classes", "per_class"])
@pytest.mark.parametrize("value", [10**9 + 1, int("9" * 400)])
def test_a_number_too_large_to_compute_with_is_one_line(name, value):
    for read, given in (from_text, str(value)), (settings.checked, value):
        with pytest.raises(InputError, match=r"expected a whole number from [12] to 1,000,000,000"):
            read(name, given)
    with pytest.raises(InputError, match="expected constant, cosine, or step:EPOCHS"):
        settings.checked("schedule", f"step:{'9' * 5000}")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbflr = 0.5")
    assert read_toml(tmp_path / "run.toml") == {"lr": 0.5}


def test_a_file_without_end_is_one_line():
    with pytest.raises(InputError, match="/dev/zero: cannot be read: expected at most 1,048,576"):
        read_toml(Path("/dev/zero"))


def test_a_path_is_kept_whole_so_that_it_is_right_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of/me")
    for given, kept in (
        ("pets", tmp_path / "pets"),
        ("../pets.zip", tmp_path / "../pets.zip"),
        ("~/pets", "/home/of/me/pets"),
        ("/pets", "/pets"),
    ):
        assert Settings(data=f"imagefolder:{given}").data == f"imagefolder:{kept}"
    (tmp_path / "run.toml").write_text('data = "imagefolder:pets"')
    read = Settings(**read_toml(tmp_path / "run.toml"))
    assert read.data == f"imagefolder:{tmp_path / 'pets'}"


def test_a_path_that_no_toml_file_can_hold_is_one_line():
    with pytest.raises(InputError, match=r"--data: expected a path in UTF-8, found '.*\\udcff'"):
        Settings(data="imagefolder:/p\udcff")
    for name in ("feedback", "last_feedback"):
        with pytest.raises(
            InputError, match=rf"{settings.flag(name)}: expected a path in UTF-8, found"
        ):
            Settings(**{name: "/p\udcff.py:Rule"})
    with pytest.raises(InputError, match="--model: expected one of mlp, "):
        Settings(model="a\udcff")


def test_what_class_folders_need_reaches_their_loader_and_nothing_else(monkeypatch):
    given = {"size": 8, "classes": 2, "per_class": 3, "on_bad": "skip"}
    run = Settings(data="imagefolder:/pets", seed=4, **given)
    monkeypatch.setattr(settings.imagefolder, "load", lambda path, **options: (path, options))
    for cache in (True, False):
        options = given | {"seed": 4, "cache": cache}
        assert settings.load_data(run, cache) == ("/pets", options)
    assert "--on-bad skip" in as_flags(run)
    for name, value in given.items():
        with pytest.raises(InputError, match=f"{settings.flag(name)}: only for --data imagefolder"):
            Settings(**{name: value})
