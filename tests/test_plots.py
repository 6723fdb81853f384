"""Figures show the numbers they are given, each in its own panel."""

from types import SimpleNamespace

import pytest

from nnref import plots
from nnref.errors import InputError


def record(names):
    """A record as the demo makes it, with other numbers in every place."""
    rules = [
        {
            "name": name,
            "test_accuracy": 0.9 + i / 100,
            "history": [
                {"epoch": 1, "test_accuracy": 0.8 + i / 100},
                {"epoch": 2, "test_accuracy": 0.9 + i / 100},
            ],
            "watched": {
                "epoch": [0, 1, 2],
                "weight_angle_deg": [[10 + i, 20 + i, 30 + i + t] for t in range(3)],
                "delta_angle_deg": [[40 + i, 50 + i + t, 0] for t in range(3)],
            },
        }
        for i, name in enumerate(names)
    ]
    return {"network": [4, 3, 3, 2], "seed": 0, "epochs": 2, "rules": rules}


def curves(axes):
    """{(color, style): values} of the lines of a panel, without the line at 90 degrees."""
    lines = [line for line in axes.lines if line.get_color() != "#BBBBBB"]
    return {(line.get_color(), line.get_linestyle()): list(line.get_ydata()) for line in lines}


def test_the_demo_figure_shows_each_measure_in_its_panel():
    accuracy, weight, delta = plots.demo(record(["backprop", "sign-symmetry"])).axes
    first, second = plots.COLORS["backprop"], plots.COLORS["sign-symmetry"]
    assert curves(accuracy) == {
        (first, "-"): pytest.approx([80, 90]),
        (second, "-"): pytest.approx([81, 91]),
    }
    # layer 1's B is never used, and layer 3's delta is always BP's: neither is shown
    assert curves(weight) == {
        (first, "--"): [20, 20, 20],
        (first, "-"): [30, 31, 32],
        (second, "--"): [21, 21, 21],
        (second, "-"): [31, 32, 33],
    }
    assert curves(delta) == {
        (first, ":"): [40, 40, 40],
        (first, "--"): [50, 51, 52],
        (second, ":"): [41, 41, 41],
        (second, "--"): [51, 52, 53],
    }


def test_a_rule_without_an_angle_has_no_line():
    data = record(["last-layer-only"])
    data["rules"][0]["watched"]["weight_angle_deg"] = [[None, None, None]] * 3
    _, weight, delta = plots.demo(data).axes
    assert curves(weight) == {}
    assert len(curves(delta)) == 2


def test_every_panel_is_labeled_and_the_legend_names_the_rules():
    figure = plots.demo(record(list(plots.COLORS)))
    for axes in figure.axes:
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title()
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.split(":")[0] for text in shown] == list(plots.COLORS)


def test_the_alignment_figure_takes_a_rule_of_ones_own():
    run = SimpleNamespace(epochs=[0, 1], weight=[90, 60], delta=[91, 50])
    weight, delta = plots.alignment({"my rule": run, "sign-symmetry": run}).axes
    assert [list(line.get_ydata()) for line in weight.lines[:2]] == [[90, 60]] * 2
    assert [list(line.get_ydata()) for line in delta.lines[:2]] == [[91, 50]] * 2


def test_a_figure_makes_its_folder_or_says_that_it_cannot(tmp_path):
    plots.save(plots.two_pathways(), tmp_path / "new" / "figure.png")
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="the folder cannot be made"):
        plots.save(plots.two_pathways(), tmp_path / "new" / "figure.png" / "figure.png")
