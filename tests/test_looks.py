"""Rules differ by more than color; names stand at the ends of their lines, none over another."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from nnref.plots import runs
from nnref.plots.experiments import Panel, against, curves, dots, relative
from nnref.plots.looks import LOOKS, End, Look, apart, name_ends, of_rule
from nnref.rules.known import KNOWN


def test_no_two_rules_of_the_experiments_look_alike_without_color():
    without_color = {name: look[1:] for name, look in LOOKS.items() if name not in ("uSF", "SS")}
    assert len(set(without_color.values())) == len(without_color)
    assert LOOKS["uSF"] == LOOKS["SS"]  # the same rule, in the words of two papers


def test_a_variant_of_a_rule_has_its_marker_hollow():
    rule, variant = LOOKS["SS"], LOOKS["SS, BP last"]
    assert rule[::2] == variant[::2] and rule.line != variant.line
    assert (rule.dot["mfc"], variant.dot["mfc"]) == (rule.color, "white")


def test_a_rule_of_a_readers_own_has_a_marker_too():
    assert of_rule("sham") == (KNOWN["sham"].color, "-", KNOWN["sham"].marker)
    assert of_rule("my rule") == (None, "-", ".")


def test_a_long_line_has_a_marker_here_and_there():
    axes = Figure().subplots()
    short, long = (of_rule("sham").draw(axes, range(n), np.ones(n)) for n in (5, 500))
    assert short.get_markevery() is None and long.get_markevery() is not None


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ([0.1, 0.9, 0.5], [0.1, 0.9, 0.5]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.52, 0.5, 0.9], [0.56, 0.46, 0.9]),
        ([0.5, 0.5, 0.5, 0.58], [0.37, 0.47, 0.57, 0.67]),
    ],
)
def test_labels_are_moved_apart_as_little_as_can_be(wanted, found):
    assert apart(wanted, [0.1] * len(wanted)) == pytest.approx(np.array(found))


def test_no_label_covers_another_whatever_their_heights(rng):
    wanted, heights = rng.random(30), 0.1 * rng.random(30)
    places = apart(wanted, heights)
    order = np.argsort(wanted)
    assert (np.argsort(places) == order).all()
    gaps = np.diff(places[order]) - (heights[order][1:] + heights[order][:-1]) / 2
    assert gaps.min() > -1e-12


def ends(*heights):
    return [End(f"rule {i}", 1, y, "#000000") for i, y in enumerate(heights)]


def test_names_stand_beside_the_ends_of_their_lines():
    axes = Figure().subplots()
    axes.set(xlim=(0, 1), ylim=(0, 10))
    assert name_ends([(axes, ends(2, 8))])
    assert [(text.get_text(), text.xy) for text in axes.texts] == [
        ("rule 0", (1, 2)), ("rule 1", (1, 8)),
    ]  # fmt: skip
    assert [text.get_position()[1] for text in axes.texts] == pytest.approx([0.2, 0.8])


def test_ends_in_one_point_have_no_names_so_that_a_legend_serves_them():
    one, other = Figure().subplots(1, 2)
    for axes in (one, other):
        axes.set(xlim=(0, 1), ylim=(0, 10))
    assert not name_ends([(one, ends(2, 8)), (other, ends(*[5] * 6))])
    assert not one.texts and not other.texts


def test_an_end_that_is_no_number_leaves_the_names_to_a_legend():
    axes = Figure().subplots()
    axes.set(xlim=(0, 1), ylim=(0, 10))
    assert not name_ends([(axes, ends(2, float("nan")))])


def test_a_name_of_two_lines_takes_the_room_of_two():
    axes = Figure().subplots()
    axes.set(xlim=(0, 1), ylim=(0, 10))
    near = [End("one\nabove the other", 1, 5, "#000000"), End("below", 1, 4.8, "#000000")]
    assert name_ends([(axes, near)])
    above, below = (text.get_position()[1] for text in axes.texts)
    other = Figure().subplots()
    other.set(xlim=(0, 1), ylim=(0, 10))
    name_ends([(other, [near[0]._replace(name="one"), near[1]])])
    first, second = (text.get_position()[1] for text in other.texts)
    assert above - below == pytest.approx(1.5 * (first - second))


def words_of(figure):
    return {text.get_text() for axes in figure.axes for text in axes.texts}


def test_every_line_of_a_figure_has_its_name():
    rising = [[(1, 0.2), (2, 0.9)], [(1, 0.3), (2, 0.8)]]
    figure = curves({"MNIST": {"BP": rising, "FA": [[(1, 0.1), (2, 0.4)]], "SS": [[]]}}, "accuracy")
    assert words_of(figure) == {"BP", "FA"}  # SS diverged at once
    (axes,) = curves({"MNIST": {"BP": [[(1, 0.2), (2, 0.9)], []]}}, "accuracy").axes  # one seed did
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.2, 0.9]]
    shares = {"SS": [[0.9], []], "FA": [[0.8, 0.6], [0.3]]}
    assert words_of(relative(["MNIST", "CIFAR"], shares, "share")) == {"BP", "SS", "FA"}
    level = {name: [[(1, 0.5), (2, 0.5)]] for name in ("BP", "SS", "FA", "KP", "DFA", "WM", "IA")}
    figure = curves({"MNIST": level}, "accuracy")
    assert not words_of(figure)  # they end in one point
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(level)


LINE = {0: [1.0], 1: [2.0, 4.0]}


def test_panels_of_one_label_have_one_range_and_others_have_their_own():
    high = {place: [100 * value for value in values] for place, values in LINE.items()}
    panels = [
        Panel("a", "degrees", [("SS", LOOKS["SS"], LINE)]),
        Panel("b", "degrees", [("FA", LOOKS["FA"], high)]),
        Panel("c", "points", [("FA", LOOKS["FA"], LINE)]),
    ]
    a, b, c = against("p", panels, ticks={0: "none", 1: "all"}).axes
    assert a.get_ylim() == b.get_ylim() != c.get_ylim()
    assert (a.get_ylabel(), b.get_ylabel(), c.get_ylabel()) == ("degrees", "", "points")
    assert (a.get_xlabel(), b.get_xlabel(), c.get_xlabel()) == ("", "p", "p")
    assert [text.get_text() for text in c.get_xticklabels()] == ["none", "all"]
    assert [text.get_text() for axes in (a, b, c) for text in axes.texts] == ["SS", "FA", "FA"]


def test_marks_without_a_line_are_named_by_a_legend():
    points = Look("black", "none", "x")
    figure = against("p", [Panel("a", "y", [("SS", LOOKS["SS"], LINE), ("seen", points, LINE)])])
    assert not figure.axes[0].texts
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SS", "seen"]


def test_rows_of_one_rule_each_need_no_legend():
    alone = dots({"MNIST": {"BP": {"BP": [90]}, "FA": {"FA": [80]}}}, "accuracy", key="what it is")
    assert not alone.legends and "what it is" in alone.get_supxlabel()
    several = dots({"MNIST": {"no law": {"BP": [90], "FA": [80]}}}, "accuracy")
    assert [text.get_text() for text in several.legends[0].get_texts()] == ["BP", "FA"]


def layers_at(*angles):
    """The figure of networks whose layers, all but the first, have these angles at the end."""
    history = [{"epoch": e, "weight_angle_deg": [0, *angles]} for e in range(3)]
    return runs.layer_figure(
        history, "weight_angle_deg", range(2, len(angles) + 2), len(angles) + 1
    )


def test_layers_that_lie_on_top_of_each_other_have_one_name():
    axes = layers_at(37, 37.2, 60, 36.8).axes[0]
    words = [text.get_text() for text in axes.texts]
    assert "layers\n2, 3, 5" in words and "layer 4" in words
    assert "layers 2\nto 4" in [text.get_text() for text in layers_at(37, 37, 37).axes[0].texts]


def test_very_many_layers_have_a_bar_of_colors():
    assert len(layers_at(*range(5, 90, 4)).axes) == 2
    assert len(layers_at(20, 40).axes) == 1
