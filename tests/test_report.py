"""The report is one page that needs nothing else, says what it was given, and survives gaps."""

import base64
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from nnref.plots import runs as draw
from nnref.plots import style
from nnref.runs.report import page

SECTIONS = [
    "How it learned",
    "What the feedback was like",
    "Which classes it confuses",
    "Its worst mistakes",
    "What its first layer looks for",
    "What was run",
    "Repeat it, with another --out",
]
HOSTILE = '<script>alert("1")</script>'


def record(epochs=3, layers=3, classes=3):
    """A record with other numbers in every place."""
    measured = {
        "weight_angle_deg": [30.0 + i for i in range(layers)],
        "delta_angle_deg": [60.0 - i for i in range(layers)],
        "norm_ratio": [0.5 + i for i in range(layers)],
    }
    history = [{"epoch": 0} | measured]
    for epoch in range(1, epochs + 1):
        results = {
            "train_loss": 2 / epoch,
            "held_out_loss": 3 / epoch,
            "held_out_accuracy": 1 - 0.5 / epoch,
            "lr": 0.05,
            "seconds": 1.5,
        }
        history.append({"epoch": epoch} | results | measured)
    return {
        "command": "python -m nnref train --model lenet --out runs/a",
        "settings": {
            "data": "digits",
            "model": "lenet",
            "feedback": "backprop",
            "size": None,
            "lr": 0.05,
        },
        "versions": {"nnref": "0.1.0", "blas": ["one", "two"]},
        "data": {
            "train": 9000,
            "val": 1000,
            "test": 2000,
            "sha256": 64 * "a",
            "names": [f"class {i}" for i in range(classes)],
        },
        "layers": [f"Linear({i}, {i + 1})" for i in range(layers)],
        "history": history,
        "test": {
            "loss": 0.25,
            "accuracy": 0.875,
            "confusion": (np.arange(classes**2).reshape(classes, classes)).tolist(),
        },
        "guess": 0.125,
        "wall_s": 73.2,
    }


def mistakes(rng, dtype="float32", channels=1, labels=(0, 1)):
    image = (200 * rng.random((12, 10, channels))).astype(dtype)
    return [(image, *labels, 0.75)]


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are built but not drawn, which takes a second, where a test looks elsewhere."""
    buffer = BytesIO()
    Image.new("L", (1, 1)).save(buffer, "png")
    monkeypatch.setattr(style, "png", lambda figure, dpi: buffer.getvalue())


class Document(HTMLParser):
    """Holds tags to their balance; collects what is inside."""

    EMPTY = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = " ".join(self.texts)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, wanted):
        return [attributes for tag, attributes in self.tags if tag == wanted]

    def images(self):
        """Every embedded image, decoded."""
        head = "data:image/png;base64,"
        sources = [attributes["src"] for attributes in self.all("img")]
        assert all(source.startswith(head) for source in sources)
        contents = [base64.b64decode(source[len(head) :], validate=True) for source in sources]
        return [np.array(Image.open(BytesIO(content))) for content in contents]


def test_the_page_stands_alone_and_every_section_is_there(rng):
    text = page(record(), mistakes(rng), rng.normal(size=(2, 3, 3, 1)))
    document = Document(text)
    headings = re.findall("<h2>(.*?)</h2>", text)
    assert headings == SECTIONS
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in document.tags}
    for _, attributes in document.tags:
        assert not any(name.startswith("on") or name == "href" for name in attributes)
    assert "url(" not in text and "@import" not in text and "http" not in text
    assert all(attributes["alt"] for attributes in document.all("img"))


def test_the_page_says_what_it_was_given(rng, undrawn):
    text = Document(page(record(), mistakes(rng), None)).text
    for shown in (
        "lenet on digits under backprop", "87.5%", "12.5%", "83.3%", "73 s",  # the headline
        "9,000 images", "1,000 images", "2,000 images", 64 * "a", "not set", "one, two",
        "Linear(2, 3)", "(30.0°)", "32.0°", "58.0°", "2.500",  # the table of layers
        "0.667", "class 0", "gave the right answer 75%", "12 of 36",
    ):  # fmt: skip
        assert shown in text
    assert "".join(text.split()).endswith("".join(record()["command"].split()))


def test_names_and_settings_are_escaped(rng):
    hostile = record()
    hostile["command"] = hostile["settings"]["data"] = hostile["settings"]["model"] = HOSTILE
    hostile["settings"]["feedback"] = hostile["settings"]["last_feedback"] = HOSTILE
    hostile["settings"][HOSTILE] = hostile["versions"][HOSTILE] = hostile["data"][HOSTILE] = HOSTILE
    hostile["versions"]["list"] = [HOSTILE]
    hostile["layers"] = [HOSTILE] * 3
    hostile["data"]["names"] = [HOSTILE, '" onload="x', "$x_{$"]
    text = page(hostile, mistakes(rng), None)
    document = Document(text)
    assert "<script" not in text and HOSTILE in document.text
    assert all(set(attributes) == {"alt", "src"} for attributes in document.all("img"))


def test_the_figures_are_pictures_of_something(rng):
    images = Document(page(record(), [], None)).images()
    assert len(images) == 6  # loss, accuracy, two angles, norms, confusions
    for image in images:
        assert min(image.shape[:2]) > 400
        assert len(np.unique(image)) > 10


@pytest.mark.parametrize(
    ("dtype", "channels"), [("uint8", 1), ("uint8", 3), ("float32", 1), ("float64", 3)]
)
def test_a_mistake_is_shown_as_it_is_only_larger(rng, dtype, channels, undrawn):
    worst = mistakes(rng, dtype, channels)
    shown = Document(page(record(), worst, None)).images()[-1]
    image = worst[0][0].astype(float)
    times = len(shown) // len(image)
    if dtype != "uint8":
        image = 255 * (image - image.min()) / np.ptp(image)
    small = shown[::times, ::times].reshape(image.shape)
    np.testing.assert_allclose(small, image, atol=1)


def test_an_image_of_one_shade_and_one_of_two_channels_are_shown(rng, undrawn):
    flat = (np.full((4, 4, 1), 7.0), 0, 1, 0.5)
    two = (rng.random((4, 4, 2)), 0, 1, 0.5)
    assert len(Document(page(record(), [flat, two], None)).images()) == 6 + 2


def test_filters_keep_their_sign_and_their_size_against_each_other(undrawn):
    filters = np.zeros((3, 2, 2, 1))
    filters[0], filters[1, 0, 0] = 2.0, -1.0
    strong, weak, none = Document(page(record(), [], filters)).images()[-3:]
    assert (strong == 255).all()
    assert 60 <= weak[0, 0] <= 65 and weak[-1, -1] == 127
    assert (none == 127).all()


@pytest.mark.parametrize(
    "filters", [None, np.zeros((0, 3, 3, 1)), np.ones((2, 3, 3, 8)), np.zeros((2, 3, 3, 3))]
)
def test_filters_that_are_no_pictures_are_left_out(filters, undrawn):
    document = Document(page(record(), [], filters))
    pictures = 2 if filters is not None and filters.shape[-1] == 3 else 0
    assert len(document.images()) == 6 + pictures
    assert ("cannot be shown" in document.text) == (not pictures)


def test_of_very_many_filters_some_are_shown(undrawn):
    document = Document(page(record(), [], np.ones((100, 2, 2, 1))))
    assert len(document.images()) == 6 + 64 and "64 of 100" in document.text


def test_a_run_that_has_not_learned_says_so_at_the_top(undrawn):
    rising = record()
    rising["history"][-1]["train_loss"] = 177.0
    text = page(rising, [], None)
    (line,) = re.findall('<p class="doubt">(.*)</p>', text)
    assert line.startswith("has it learned? training loss 177 at the end, 2 in the first epoch;")
    assert text.index(line) < text.index("How it learned")
    assert 'class="doubt"' not in page(record(), [], None)


def test_gaps_are_survived(rng):
    gaps = record()
    gaps["history"][1]["weight_angle_deg"] = [None, None, 12.0]
    gaps["history"][-1] |= {
        "weight_angle_deg": [None] * 3,
        "delta_angle_deg": [None] * 3,
        "norm_ratio": [0.0] * 3,
    }
    document = Document(page(gaps, [], None))
    assert "(-)" in document.text and "None to show" in document.text


def test_a_rule_without_a_b_has_its_angles_of_delta_alone(undrawn):
    direct = record()
    direct["settings"]["feedback"] = "direct-feedback"
    for entry in direct["history"]:
        entry |= {"weight_angle_deg": [None] * 3, "norm_ratio": [None] * 3}
    text = Document(page(direct, [], None)).text
    assert "direct-feedback: B = none; random, fixed D to every layer." in text
    assert "60" in text.partition("What the feedback was like")[2]


def test_without_images_held_out_the_test_figures_stay_away():
    alone = record()
    alone["data"]["val"] = 0
    for entry in alone["history"][1:]:
        del entry["held_out_loss"], entry["held_out_accuracy"]
    document = Document(page(alone, [], None))
    assert "No images were held out" in document.text and len(document.images()) == 5


@pytest.mark.parametrize("epochs", [1, 60])
@pytest.mark.parametrize("layers", [1, 2, 21])
def test_any_number_of_epochs_and_layers(epochs, layers):
    document = Document(page(record(epochs, layers), [], None))
    swatches = [tag["style"] for tag in document.all("span") if tag.get("class") == "swatch"]
    assert len(set(swatches)) == layers


def test_200_classes(rng):
    many = record(classes=200)
    document = Document(page(many, mistakes(rng, labels=(7, 199)), None))
    assert "class 199" in document.text


def test_without_names_or_confusions_numbers_stand_in(rng, undrawn):
    plain = record()
    plain["data"]["names"] = []
    plain["test"]["confusion"] = np.diag([3, 0, 5]).tolist()
    text = Document(page(plain, mistakes(rng), None)).text
    assert "None." in text and "0, taken for" in text and "8 of 8" in text


def test_a_rule_of_ones_own_has_one_color():
    lines = draw.losses(record()["history"], "my rule").axes[0].lines
    assert len({line.get_color() for line in lines}) == 1


def test_what_would_be_good_stands_beside_the_result_where_it_is_known(undrawn):
    known = {"BP (run bp)": 0.9512, "the last layer alone (run last)": 0.701}
    text = Document(page(record(), [], None, known)).text
    assert text.index("87.5%") < text.index("BP (run bp)") < text.index("95.1%")
    assert "70.1%" in text
    assert "BP (run" not in Document(page(record(), [], None)).text


@pytest.mark.parametrize(
    ("chance", "words"),
    [(0.754, "75%"), (0.0123, "1.2%"), (0.004, "0.4%"), (1.2e-5, "0.001%"), (0.0, "less than")],
)
def test_a_mistake_says_how_likely_its_right_answer_was(rng, undrawn, chance, words):
    worst = [(*mistakes(rng)[0][:3], chance)]
    assert f"gave the right answer {words}" in Document(page(record(), worst, None)).text
