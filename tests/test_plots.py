"""Figures show the numbers they are given, each in its own panel."""

import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest

from nnref import plots
from nnref.errors import InputError
from nnref.plots import runs, style, tutorials
from nnref.plots.demo import demo, pathways
from nnref.questions.late import Clock, overlap
from nnref.rules.known import COLORS

NAN = float("nan")


def record(names):
    """A record as the demo makes it, with other numbers in every place."""
    rules = [
        {
            "name": name,
            "test_accuracy": 0.9 + i / 100,
            "history": [
                {"epoch": 1, "held_out_accuracy": 0.8 + i / 100},
                {"epoch": 2, "held_out_accuracy": 0.9 + i / 100},
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
    accuracy, weight, delta = demo(record(["backprop", "sign-symmetry"])).axes
    first, second = COLORS["backprop"], COLORS["sign-symmetry"]
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
    _, weight, delta = demo(data).axes
    assert curves(weight) == {}
    assert len(curves(delta)) == 2


def test_every_panel_is_labeled_and_the_legend_names_the_rules():
    figure = demo(record(list(COLORS)))
    assert all(axes.get_ylabel() and axes.get_title() for axes in figure.axes)
    assert figure.axes[-1].get_xlabel()  # the panels share it
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.split(":")[0] for text in shown] == list(COLORS)


def test_the_readmes_picture_shows_three_b_with_the_angles_of_their_kinds():
    panels = {axes.get_title(): axes.get_xlabel() for axes in pathways().axes[1:]}
    angles = [int(label.partition("°")[0]) for label in panels.values() if label]
    assert len(panels) == 4 and angles == pytest.approx([0, 37, 90], abs=1)


def test_the_alignment_figure_takes_a_rule_of_ones_own():
    run = SimpleNamespace(epochs=[0, 1], weight=[90, 60], delta=[91, 50])
    weight, delta = tutorials.alignment({"my rule": run, "sign-symmetry": run}).axes
    assert [list(line.get_ydata()) for line in weight.lines[:2]] == [[90, 60]] * 2
    assert [list(line.get_ydata()) for line in delta.lines[:2]] == [[91, 50]] * 2


def test_a_figure_of_turning_angles_tells_rules_by_color_and_remarks_by_style():
    angles = {"feedback-alignment": ([0, 1], [95, 50]), "my rule, W frozen": ([0, 1], [91, 92])}
    outcomes = {
        "backprop": ([0, 2], [10, 91]),
        "backprop, W frozen": ([0, 2], [11, 90]),
        "feedback-alignment, W frozen": ([0, 2], [12, 13]),
    }
    left, right = tutorials.turning(angles, outcomes, "epochs", "test accuracy (%)").axes
    black, blue = COLORS["backprop"], COLORS["feedback-alignment"]
    assert list(curves(left).values()) == [[95, 50], [91, 92]]
    assert [line.get_linestyle() for line in left.lines[:2]] == ["-", "--"]
    assert left.lines[0].get_color() == blue
    assert curves(right) == {
        (black, "-"): [10, 91],
        (black, "--"): [11, 90],
        (blue, "--"): [12, 13],
    }
    for axes, shown in ((left, angles), (right, outcomes)):
        assert axes.get_xlabel() == "epochs" and axes.get_ylabel() and axes.get_title()
        assert [text.get_text() for text in axes.get_legend().get_texts()] == list(shown)
    low, high = left.get_ylim()
    assert low < 50 and high > 95


def test_the_figure_of_the_kernels_shows_angles_and_changes():
    angles = {"sign-symmetry": ([60, 30, 0], [50, 20, 0]), "my rule": ([90, 91, 0], [80, 70, 0])}
    rng = np.random.default_rng(0)
    changes = {name: rng.normal(size=(5, 5, 2)) for name in ("backprop", "my rule")}
    changes["last-layer-only"] = np.zeros((5, 5, 2))  # no change is white, not a division by 0
    figure = tutorials.kernels(angles, changes)
    delta, *panels = figure.axes
    shown = curves(delta)
    assert len(shown) == 4
    color = COLORS["sign-symmetry"]
    assert shown[color, "--"] == [60, 30, 0] and shown[color, "-"] == [50, 20, 0]
    assert delta.get_xlabel() and delta.get_ylabel() and delta.get_title()
    assert [text.get_text() for text in delta.get_legend().get_texts()] == [
        f"{name}, {when}" for name in angles for when in ("at birth", "trained")
    ]
    assert len(panels) == 6
    for i, (name, change) in enumerate(changes.items()):
        row = panels[2 * i : 2 * i + 2]
        assert row[0].get_ylabel().replace("\n", "") == name
        for j, axes in enumerate(row):
            (image,) = axes.images
            np.testing.assert_array_equal(image.get_array(), change[:, :, j])
            assert image.get_clim() == (-(abs(change).max() or 1), abs(change).max() or 1)


def test_the_drawing_of_the_overlap_has_the_widths_that_the_mathematics_says():
    (axes,) = tutorials.late_overlap(delay=0.3, images=4).axes
    boxes = [box for box in axes.patches if box.get_height() == pytest.approx(0.8)]
    bands = [band for band in axes.patches if band not in boxes]
    own, false = ([b for b in bands if bool(b.get_hatch()) == hatched] for hatched in (False, True))
    for lag, found in ((0, own), (1, false)):
        weight = overlap(Clock(hold=10, delay=3), lag=lag)
        np.testing.assert_allclose([band.get_width() for band in found], weight)
    starts = sorted(box.get_x() for box in boxes)
    np.testing.assert_allclose(starts, [0, 0.3, 1, 1.3, 2, 2.3, 3, 3.3])
    assert len(own) == 4 and len(false) == 3
    assert axes.get_xlabel() and {"own", "false", "$T$", "$d$"} <= set(words_on(axes))


def test_of_steps_in_two_spaces_each_ends_where_the_loss_along_it_is_lowest():
    W, now, wanted = np.array([[1.6, 0.7], [0.6, 0.9]]), np.array([0.0, 1.0]), np.array([1.6, 0.2])
    matrices = {
        "backprop (B = W)": W,
        "feedback-alignment (B random)": -W,  # uphill: no step
        "difference-target-propagation (B an inverse)": np.linalg.inv(W).T,
    }
    figure = tutorials.steps_in_two_spaces(W, now, wanted, matrices)
    ends = []
    for hidden, output, name in zip(*(axes.lines for axes in figure.axes), matrices, strict=False):
        assert hidden.get_label() == name
        assert hidden.get_color() == COLORS[name.partition(" ")[0]]
        steps = [line.get_xydata() for line in (hidden, output)]
        np.testing.assert_allclose(steps[0] @ W, steps[1])
        np.testing.assert_allclose(steps[0][0], now)
        ends.append(steps[1][1])
    down, up, inverse = ends
    np.testing.assert_allclose(inverse, wanted)
    np.testing.assert_allclose(up, now @ W)
    assert (down - wanted) @ (down - now @ W) == pytest.approx(0)
    assert len({line.get_linestyle() for line in figure.axes[0].lines[:3]}) == 3
    for axes in figure.axes:
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title()


HISTORY = [
    {"epoch": 0, "norm_ratio": [0.1, 0.0, 4.0], "weight_angle_deg": [10, 20, 30]},
    {
        "epoch": 1,
        "train_loss": 2.0,
        "held_out_loss": 1.5,
        "held_out_accuracy": 0.25,
        "norm_ratio": [0.1, 0.5, 8.0],
        "weight_angle_deg": [11, None, 120],
    },
]


def test_the_figures_of_a_run_show_its_history():
    (losses,) = runs.losses(HISTORY, "sham").axes
    assert curves(losses) == {(COLORS["sham"], "--"): [2], (COLORS["sham"], "-"): [1.5]}
    for guess, bars in ((0.1, 1), (0.0, 0)):
        (accuracy,) = runs.accuracies(HISTORY, "sham", guess).axes
        assert list(accuracy.lines[0].get_ydata()) == [25]
        assert len(accuracy.lines) == 1 + bars


def test_a_layer_has_its_color_whichever_layers_are_shown():
    colors = style.layer_colors(3)
    for measure, layers, shown in (
        ("weight_angle_deg", range(2, 4), [[20, NAN], [30, 120]]),
        ("norm_ratio", range(1, 3), [[0.1, 0.1], [NAN, 0.5]]),  # B = 0 has no place on a log axis
    ):
        axes = runs.layer_figure(HISTORY, measure, layers, 3).axes[0]
        lines = axes.lines[: len(layers)]
        assert [line.get_color() for line in lines] == [colors[layer - 1] for layer in layers]
        np.testing.assert_array_equal([line.get_ydata() for line in lines], shown)
        low, high = axes.get_ylim()
        assert low < np.nanmin(shown) and np.nanmax(shown) < high


def test_a_confusion_matrix_has_numbers_unless_there_are_too_many_classes():
    axes = runs.confusion([[3, 1], [0, 4]], ["a", "b"]).axes[0]
    places = {text.get_position(): text.get_text() for text in axes.texts}
    assert places == {(0, 0): "3", (1, 0): "1", (1, 1): "4"}  # (predicted, true)
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0.75, 0.25], [0, 1]])
    assert not runs.confusion(np.eye(200, dtype=int), range(200)).axes[0].texts


def test_the_figure_of_one_slot_shows_each_B_that_differs_and_each_error():
    nan = NAN
    studies = {
        "backprop": SimpleNamespace(
            epochs=[0, 1], weight_angles=[0, 0], delta_angle=0, accuracy=0.9
        ),
        "weight-mirror": SimpleNamespace(
            epochs=[0, 1], weight_angles=[90, 4], delta_angle=6, accuracy=0.8
        ),
        "direct-feedback": SimpleNamespace(
            epochs=[0, 1], weight_angles=[nan] * 2, delta_angle=60, accuracy=0.7
        ),
        "last-layer-only": SimpleNamespace(
            epochs=[0, 1], weight_angles=[nan] * 2, delta_angle=nan, accuracy=0.5
        ),
    }
    course, outcome = tutorials.one_slot(studies).axes
    assert list(curves(course).values()) == [[90, 4]]
    shown = {line.get_color(): (line.get_xdata()[0], line.get_ydata()[0]) for line in outcome.lines}
    for name, place in {
        "backprop": (0, 90),
        "weight-mirror": (6, 80),
        "direct-feedback": (60, 70),
    }.items():
        assert shown[COLORS[name]] == pytest.approx(place)
    assert shown[COLORS["last-layer-only"]][1] == 50
    words = [text.get_text().partition(":")[0] for text in outcome.texts]
    assert words == list(studies)
    for axes in (course, outcome):
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title()


def words_on(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


def test_the_two_pathways_show_every_symbol_and_what_each_synapse_learns_from():
    (axes,) = tutorials.two_pathways().axes
    shown = " ".join(words_on(axes))
    for words in (
        "$W$ learns from $x \\delta$",
        "$e = B \\delta$",
        "the rule chooses $B$",
        "loss $E$",
    ):
        assert words in shown


def test_patches_are_framed_in_the_image_and_in_the_matrix():
    image = np.arange(12).reshape(3, 4)
    rows = np.array([[0, 1, 4, 5], [1, 2, 5, 6], [6, 7, 10, 11]])
    left, right = tutorials.patches(image, 2, rows).axes
    assert words_on(left) == [str(number) for number in range(12)]
    assert words_on(right) == [str(number) for number in rows.reshape(-1)]
    for axes, corners in ((left, [(0, 0), (2, 1)]), (right, [(0, 0), (0, 2)])):
        frames = [patch for patch in axes.patches if not patch.get_fill()]
        assert [frame.get_linestyle() for frame in frames] == ["-", "--"]
        for frame, (x, y) in zip(frames, corners, strict=True):
            assert frame.get_xy() == pytest.approx((x - 0.5, y - 0.5), abs=0.1)


def test_overlaps_show_what_each_patch_sends_and_the_sum():
    *parts, total = tutorials.patch_overlaps([np.array([[1, 1, 0]]), np.array([[0, 1, 1]])]).axes
    assert [words_on(axes) for axes in parts] == [["1", "1", "+"], ["1", "1", "="]]
    assert words_on(total) == ["1", "2", "1"]


def test_a_figure_makes_its_folder_or_says_that_it_cannot(tmp_path):
    style.save(tutorials.two_pathways(), tmp_path / "new" / "figure.png")
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="the folder cannot be made"):
        style.save(tutorials.two_pathways(), tmp_path / "new" / "figure.png" / "figure.png")


@pytest.mark.filterwarnings("error")
def test_names_that_the_font_does_not_have_are_drawn_without_a_warning():
    names = ["猫", "dog 🐶", "\x1b[31m", "a\nb", "\udcff", "$x_{$"]
    figure = runs.confusion(np.eye(len(names), dtype=int), names)
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown == ["猫", "dog 🐶", "\\x1b[31m", "a\\nb", "\\udcff", "$x_{$"]
    assert style.png(figure).startswith(b"\x89PNG")
    history = [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0}]
    group = {"name": "data $x_{$ 猫", "feedback": "mine", "results": [{"history": history}]}
    assert style.png(runs.comparison([group])).startswith(b"\x89PNG")


def test_figures_look_the_same_whatever_a_matplotlibrc_says():
    seen = []
    with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "red"}):
        assert plots.drawn("a.png", lambda: seen.append(matplotlib.rcParams["text.usetex"]))
        assert matplotlib.rcParams["axes.facecolor"] == "red"  # the user's own, afterward
    assert seen == [False]


def test_what_cannot_be_drawn_is_one_line_and_no_error(capsys, monkeypatch):
    def fail():
        raise RuntimeError("no\nfont")

    assert not plots.drawn("a.png", fail)
    assert capsys.readouterr().err == "nnref: a.png: cannot be drawn: RuntimeError: no\\nfont\n"
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # not installed
    assert not plots.drawn("a.png", fail)
    assert "nnref: a.png: cannot be drawn: ModuleNotFoundError: " in capsys.readouterr().err
