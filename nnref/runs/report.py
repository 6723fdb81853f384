"""The report of a training run: an HTML page that needs no other file and no network.

Its record is plain data, as `train` writes it: settings, versions, data, layers, history, test.
"""

import base64
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image

from nnref import plots
from nnref.errors import InputError
from nnref.rules.known import KNOWN
from nnref.rules.own import rule_named, short
from nnref.runs.record import doubt

MOST_FILTERS = 64
MOST_CONFUSIONS = 10
SHARPNESS = 180  # dots per inch of the figures
CSS = """
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 4rem; background: #fff; color: #222;
  font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.2rem; margin: 3rem 0 .5rem; padding-top: 1rem; border-top: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
p { max-width: 42rem; margin: .3rem 0 .8rem; }
img { display: block; max-width: 100%; height: auto; }
figure { margin: 0; }
.doubt { background: #fff3d6; border-radius: .4rem; padding: .7rem .9rem; }
figcaption, .quiet, summary, dt { color: #555; font-size: .875rem; line-height: 1.4; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0 0; }
dl div { background: #f5f6f8; border-radius: .4rem; padding: .7rem .9rem; }
dd { margin: 0; font-size: 1.5rem; font-weight: 600; line-height: 1.3; }
.row { display: grid; gap: 1.5rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.pictures { display: grid; gap: 1rem .75rem;
  grid-template-columns: repeat(auto-fill, minmax(6rem, 1fr)); }
.pictures img { width: 6rem; }
.filters { display: flex; flex-wrap: wrap; gap: .4rem; }
.filters img { width: 3.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e4e4e4; text-align: left;
  vertical-align: top; }
th { font-weight: 600; overflow-wrap: normal; }
.wide td { overflow-wrap: normal; }
.layers { white-space: nowrap; }
.layers tr:first-child th, .layers td:last-child { white-space: normal; min-width: 3rem; }
.swatch { display: inline-block; width: .9em; height: .9em; margin-right: .5em; }
pre span { display: inline-block; }
pre { background: #f5f6f8; border-radius: .4rem; padding: .8rem 1rem; white-space: pre-wrap; }
summary { cursor: pointer; margin-top: .8rem; }
"""


def page(record: dict, mistakes: list, filters, baselines: dict | None = None) -> str:
    """The report of a training run as an HTML page.

    mistakes    (image (H, W, C), true label, predicted label, the probability of the true one),
                largest loss first
    filters     the weights of the first layer as pictures, (count, H, W, C), or None
    baselines   name of another run -> its test accuracy, to compare with
    """
    settings = record["settings"]
    data = str(settings["data"]).rstrip("/").rsplit("/")[-1]  # of a path, its end
    title = f"{settings['model']} on {data} under {short(settings['feedback'])}"
    given = dict(enumerate(record["data"].get("names") or []))
    names = [str(given.get(i, i)) for i in range(len(record["test"]["confusion"]))]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + _headline(title, record, baselines or {})
        + _section("How it learned", _curves(record))
        + _section("What the feedback was like", _feedback(record))
        + _section("Which classes it confuses", _confusion(record["test"], names))
        + _section("Its worst mistakes", _mistakes(mistakes, names))
        + _section("What its first layer looks for", _filters(filters))
        + _section("What was run", _configuration(record))
        + _section("Repeat it, with another --out", _command(record["command"]))
        + "</main>\n</body>\n</html>\n"
    )


def _headline(title, record, baselines) -> str:
    """The title, the rule, and the main results."""
    settings, data, test = record["settings"], record["data"], record["test"]
    rule, last = settings["feedback"], settings.get("last_feedback")
    about = [_about(rule)]
    if last and last != rule:
        about.append(f"The last layer: {short(last)}.")
    about.append(
        f"The {data['test']:,} test images were scored once, after the last epoch; "
        "they were not used for selection."
    )
    results = [
        ("test accuracy", f"{test['accuracy']:.1%}"),
        *((name, f"{accuracy:.1%}") for name, accuracy in baselines.items()),
        ("always guessing the most common class", f"{record['guess']:.1%}"),
        ("validation accuracy", _number(record["history"][-1].get("held_out_accuracy"), "{:.1%}")),
        ("time", _duration(record["wall_s"])),
    ]
    cards = (f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in results)
    return (
        f"<header>\n<h1>{escape(title)}</h1>\n{_paragraph(' '.join(about))}{_doubt(record)}"
        f"<dl>{''.join(cards)}</dl>\n</header>\n"
    )


def _about(rule: str) -> str:
    """What B is under a rule, or what its author says of it; of one that is gone, its name."""
    if rule in KNOWN:
        return f"{rule}: B = {KNOWN[rule].B}."
    try:
        return f"{short(rule)}: {rule_named(rule).B}"
    except InputError:
        return f"{short(rule)}."


def _doubt(record) -> str:
    """A paragraph on a run that has not learned; empty if it has."""
    problem = doubt(record)
    return f'<p class="doubt">{escape(problem)}</p>\n' if problem else ""


def _curves(record) -> str:
    """Loss and accuracy over the epochs, as figures and as a table."""
    history, rule = record["history"], record["settings"]["feedback"]
    trained = [entry for entry in history if "train_loss" in entry]
    columns = {
        "epoch": ("epoch", "{}"),
        "training loss": ("train_loss", "{:.3f}"),
        "validation loss": ("held_out_loss", "{:.3f}"),
        "validation accuracy": ("held_out_accuracy", "{:.1%}"),
        "learning rate": ("lr", "{:.3g}"),
        "seconds": ("seconds", "{:.1f}"),
    }
    rows = [[_number(e.get(key), form) for key, form in columns.values()] for e in trained]
    caption = f"Training loss, the mean over an epoch: {_first_and_last(rows, 1, 'in')}"
    if "held_out_accuracy" not in history[-1]:
        figures = _figure(plots.runs.losses(history, rule), f"{caption}. No images were held out.")
    else:
        caption += f"; validation loss {_first_and_last(rows, 2)}."
        figures = _figure(plots.runs.losses(history, rule), caption)
        caption = f"Validation accuracy {_first_and_last(rows, 3)}."
        figures += _figure(plots.runs.accuracies(history, rule, record["guess"]), caption)
    log = f"<details><summary>As numbers</summary>{_table(list(columns), rows)}</details>\n"
    return f'<div class="row">{figures}</div>\n{log}'


def _first_and_last(rows, column, word="after") -> str:
    """A number of the first and of the last epoch, in words; of the only one if there is one."""
    first, last = rows[0][column], rows[-1][column]
    if len(rows) == 1:
        return f"{first} {word} the only epoch"
    return f"{first} {word} the first epoch, {last} {word} the last"


def _feedback(record) -> str:
    """Angles and norms of every layer over the epochs, as figures and as a table."""
    layers, history = record["layers"], record["history"]
    count = len(layers)
    end = {key: (history[-1].get(key) or [None] * count) for key in plots.style.MEASURES}
    captions = {
        "weight_angle_deg": "Is B like W? The angle between them",
        "delta_angle_deg": "Is the error like BP's? The angle between the deltas",
        "norm_ratio": "Is B as strong as W? The ratio of their sizes (1: equal)",
    }
    figures = [
        _figure(layer_figure(record, key), f"{what}, of each layer, over time.")
        for key, what in captions.items()
    ]
    rows = []
    for i, layer in enumerate(layers):
        number = "({})" if i == 0 else "{}"  # the B of the first is never used
        W_to_B = number.format(_number(end["weight_angle_deg"][i], "{:.1f}°"))
        ratio = number.format(_number(end["norm_ratio"][i], "{:.3f}"))
        delta = _number(end["delta_angle_deg"][i], "{:.1f}°")
        rows.append([str(i + 1), W_to_B, delta, ratio, layer])
    head = ["layer", "W to B", "delta to BP's", "rms(B) / rms(W)", ""]
    return (
        _paragraph(
            "A layer computes with W; the error comes back through B. Two directions are the same "
            "at an angle of 0°, unrelated at 90°. The B of the first layer is never used, and the "
            "last layer's delta is always backpropagation's (BP's): the figures leave both out. "
            "Where a value is undefined, as for B = 0, a line has a gap."
        )
        + f'<div class="row">{"".join(figures)}</div>\n<h3>After training</h3>\n'
        + _table(head, rows, plots.style.layer_colors(count))
    )


def layer_figure(record, measure):
    """The figure of a measure, without the last layer (deltas) or the first (all others)."""
    count = len(record["layers"])
    shown = range(1, count) if measure == "delta_angle_deg" else range(2, count + 1)
    return plots.runs.layer_figure(record["history"], measure, shown, count)


def figures(record: dict) -> dict:
    """The figures of the page by name, to save them as files."""
    history, rule = record["history"], record["settings"]["feedback"]
    names = record["data"]["names"]
    found = {measure: layer_figure(record, measure) for measure in plots.style.MEASURES}
    found["loss"] = plots.runs.losses(history, rule)
    found["confusion"] = plots.runs.confusion(record["test"]["confusion"], names)
    if "held_out_accuracy" in history[-1]:
        found["accuracy"] = plots.runs.accuracies(history, rule, record["guess"])
    return found


def _confusion(test, names) -> str:
    """The confusion matrix, and its largest entries with the names of the classes."""
    counts = np.array(test["confusion"])
    wrong = counts - np.diag(np.diag(counts))
    largest = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = zip(*np.unravel_index(largest, wrong.shape), strict=True)
    rows = [
        [names[true], names[predicted], str(wrong[true, predicted])]
        for true, predicted in pairs
        if wrong[true, predicted]
    ]
    figure = _figure(
        plots.runs.confusion(counts, names),
        f"{np.trace(counts):,} of {counts.sum():,} test images lie on the diagonal, "
        "where the prediction is right.",
    )
    often = _table(["true class", "taken for", "times"], rows) if rows else _paragraph("None.")
    return f'<div class="row">{figure}<div><h3>Most often confused</h3>{often}</div></div>\n'


def _mistakes(mistakes, names) -> str:
    """Test images that the network classified wrongly."""
    if not mistakes:
        return _paragraph("None to show.")
    pictures = []
    for image, true, predicted, chance in mistakes:
        true, predicted = names[true], names[predicted]
        pictures.append(
            f"<figure>{_picture(_shades(image), f'a test image of class {true}')}<figcaption>"
            f"{escape(true)}, taken for <strong>{escape(predicted)}</strong>; "
            f"gave the right answer {_probability(chance)}</figcaption></figure>\n"
        )
    return (
        _paragraph(
            "Test images that it took for another class, those first to whose right answer it "
            "gave the lowest probability."
        )
        + f'<div class="pictures">{"".join(pictures)}</div>\n'
    )


def _filters(filters) -> str:
    """The weights of the first layer, if they can be shown as pictures."""
    if filters is None or not len(filters) or filters.shape[-1] not in (1, 3):
        return _paragraph("Its weights cannot be shown as pictures.")
    strongest = abs(filters).max() or 1
    shades = (127.5 + 127.5 * filters / strongest).astype("uint8")
    shown = shades[:MOST_FILTERS]
    images = [_picture(one, f"filter {i}") for i, one in enumerate(shown, 1)]
    some = "" if len(filters) == len(shown) else f" The first {len(shown)} of {len(filters)}."
    return (
        _paragraph(f"Its weights as pictures, all on the same scale; mid-gray is 0.{some}")
        + f'<div class="filters">{"".join(images)}</div>\n'
    )


def _configuration(record) -> str:
    """Every setting, version and part of the data."""
    data = record["data"]
    parts = [
        ["training", f"{data['train']:,} images: used to change the weights"],
        ["validation", f"{data['val']:,} images: held out; used for selection"],
        ["test", f"{data['test']:,} images: scored once, at the end; not used for selection"],
        ["classes", f"{len(record['test']['confusion']):,}"],
    ]
    parts += [[k, v] for k, v in data.items() if k not in ("train", "val", "test", "names")]
    tables = {
        "Settings": record["settings"].items(),
        "Data": parts,
        "Versions": record["versions"].items(),
    }
    boxes = (f"<div><h3>{name}</h3>{_table([], rows)}</div>" for name, rows in tables.items())
    return f'<div class="row">{"".join(boxes)}</div>\n'


def _command(command) -> str:
    """A shell command, whose line may break between words but not within --flags."""
    words = (f"<span>{escape(word)}</span>" for word in command.split(" "))
    return f"<pre>{' '.join(words)}</pre>\n"


def _section(heading, content) -> str:
    return f"<section>\n<h2>{escape(heading)}</h2>\n{content}</section>\n"


def _paragraph(text) -> str:
    return f"<p>{escape(text)}</p>\n"


def _table(head, rows, colors=None) -> str:
    """A table of plain text; no head: names and values; colors: a swatch before each row."""
    lines = ["".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)] if head else []
    for i, (first, *rest) in enumerate(rows):
        mark = f'<span class="swatch" style="background: {colors[i]}"></span>' if colors else ""
        cells = (f"<td>{escape(_plain(cell))}</td>" for cell in rest)
        lines.append(f'<th scope="row">{mark}{escape(str(first))}</th>{"".join(cells)}')
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    kind = "layers" if colors else "wide" if head else "pairs"
    return f'<div class="scroll"><table class="{kind}">\n{body}</table></div>\n'


def _figure(figure, caption) -> str:
    """A figure with its caption, which is also its alternative text."""
    image = _embedded(plots.style.png(figure, SHARPNESS), caption)
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>\n"


def _picture(image, alt) -> str:
    """An image of bytes (H, W, C); small ones are enlarged here, so that pixels stay sharp."""
    times = max(1, 112 // len(image))
    image = image.repeat(times, axis=0).repeat(times, axis=1)
    buffer = BytesIO()
    Image.fromarray(image if image.shape[2] == 3 else image[..., 0]).save(buffer, "png")
    return _embedded(buffer.getvalue(), alt)


def _shades(image):
    """An image as bytes, gray or RGB: floating-point numbers from their lowest to their highest."""
    if image.shape[2] not in (1, 3):
        image = image.mean(axis=2, keepdims=True)
    if image.dtype == np.uint8:
        return image
    lowest, highest = float(image.min()), float(image.max())
    return (255 * (image - lowest) / (highest - lowest or 1)).astype("uint8")


def _embedded(png, alt) -> str:
    data = base64.b64encode(png).decode()
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def _probability(probability) -> str:
    """A probability in %, with the first digit that is not 0."""
    percent = 100 * probability
    if percent < 1e-6:
        return "less than 0.000001%"
    digits = 2 if percent >= 1 else 1
    return f"{np.format_float_positional(percent, digits, fractional=False, trim='-')}%"


def _plain(value) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "not set" if value is None else str(value)


def _number(value, form) -> str:
    return "-" if value is None else form.format(value)


def _duration(seconds) -> str:
    if seconds < 120:
        return f"{seconds:.{0 if seconds >= 10 else 1}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
