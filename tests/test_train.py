"""The loop: what it returns, that it repeats, and what it refuses."""

import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from oracles import assert_same

from nnref import layers, models
from nnref.backend import blas_libraries, to_device, to_host, xp
from nnref.data.imageset import ImageSet, batches
from nnref.data.transforms import Normalize, PadCropFlip
from nnref.errors import InputError
from nnref.feedback import Backprop, FeedbackAlignment
from nnref.init import stream
from nnref.losses import softmax_cross_entropy
from nnref.optim import SGD
from nnref.train import Progress, Training, evaluate, fit, train_step


@pytest.fixture
def small(digits):
    """(train, test) of 100 and 50 digits, floating point arrays of their own."""
    return tuple(
        ImageSet(part.images[:n].copy(), part.labels[:n].copy())
        for part, n in zip(digits, (100, 50), strict=True)
    )


def test_batches_hold_every_sample_once_in_an_order_of_the_seed(small):
    data, _ = small

    def order(rng):
        chosen = None if rng is None else rng.permutation(100)
        return np.concatenate([to_host(x)[:, 14, :, 0] for x, _ in batches(data, 32, chosen)])

    sizes = [len(labels) for _, labels in batches(data, 32)]
    assert sizes == [32, 32, 32, 4]
    assert_same(order(None), data.images[:, 14, :, 0])
    shuffled = order(stream(0, "order"))
    assert not np.array_equal(shuffled, order(None))
    assert_same(shuffled, order(stream(0, "order")))
    assert_same(np.sort(shuffled, axis=0), np.sort(order(None), axis=0))


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(64, 32, [32, 32]), (66, 32, [32, 32, 2]), (65, 32, [32, 33]), (3, 1, [1, 1, 1]), (1, 5, [1])],
)
def test_a_single_image_left_over_joins_the_batch_before(count, batch_size, sizes):
    data = ImageSet(np.arange(count * 1.0).reshape(-1, 1), np.zeros(count, int))
    parts = [x for x, _ in batches(data, batch_size)]
    assert [len(part) for part in parts] == sizes
    assert_same(xp.concatenate(parts), data.images)


def test_images_stay_with_their_labels(small):
    data, _ = small
    for x, labels in batches(data, 7, stream(0, "order").permutation(100)):
        for image, label in zip(to_host(x), labels, strict=True):
            assert any(
                label == data.labels[i] and np.array_equal(image, data.images[i])
                for i in range(len(data.labels))
            )


def test_history_has_an_entry_for_each_epoch(small):
    train, test = small
    model = models.mlp([16])
    history = fit(model, SGD(model, 0.05), train, test, epochs=3)
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert history[2]["train_loss"] < history[0]["train_loss"]
    loss, accuracy = evaluate(model, test)
    assert (history[2]["held_out_loss"], history[2]["held_out_accuracy"]) == (loss, accuracy)
    assert all(entry["seconds"] > 0 for entry in history)


def test_the_training_loss_is_the_mean_over_the_images_of_every_epoch(small):
    train, _ = small
    model, seen = models.mlp([16]), []

    def loss(outputs, labels):
        value, delta = softmax_cross_entropy(outputs, labels)
        seen.append((float(value), len(labels)))
        return value, delta

    history = fit(model, SGD(model, 0.05), train, epochs=2, batch_size=32, loss=loss)
    for epoch, entry in enumerate(history):
        values, counts = zip(*seen[4 * epoch : 4 * epoch + 4], strict=True)
        assert counts == (32, 32, 32, 4)
        expected = sum(v * n for v, n in zip(values, counts, strict=True)) / 100
        assert entry["train_loss"] == pytest.approx(expected, rel=1e-6)


def test_evaluation_in_parts_equals_the_definition(small):
    _, test = small
    model = models.mlp([16], dtype="float64")
    data = ImageSet(test.images.astype("float64"), test.labels)
    logits = to_host(model.forward(to_device(data.images)))
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss, accuracy = evaluate(model, data, batch_size=7)
    assert loss == pytest.approx(-logs[np.arange(50), data.labels].mean())
    assert accuracy == (logits.argmax(axis=1) == data.labels).mean()


def test_the_same_seed_gives_the_same_network_and_another_seed_another(small):
    train, _ = small

    def weights(seed):
        model = models.mlp([16], seed=0)
        fit(model, SGD(model, 0.05), train, epochs=2, seed=seed)
        return model.layers[1].params["W"]

    assert_same(weights(1), weights(1))
    assert (weights(1) != weights(2)).any()


def test_the_rule_does_not_change_the_order_of_the_data(small):
    train, _ = small
    orders = []
    for rule in (Backprop(), FeedbackAlignment()):
        model = models.mlp([16], feedback=rule)
        seen = []
        fit(
            model,
            SGD(model, 0.05),
            train,
            epochs=2,
            on_step=lambda _, model=model, seen=seen: seen.append(model.layers[1].x.copy()),
        )
        orders.append(xp.concatenate(seen))
    assert_same(*orders)


def test_the_schedule_sets_the_rate_of_every_step(small):
    train, _ = small
    model = models.mlp([])
    optimizer, rates = SGD(model, 1.0), []
    fit(
        model,
        optimizer,
        train,
        epochs=2,
        batch_size=50,
        schedule=lambda epoch: 1 + epoch,
        on_step=lambda _: rates.append(optimizer.lr),
    )
    assert rates == [1.25, 1.75, 2.25, 2.75]  # two steps per epoch, each read in its middle


def test_on_step_hears_how_many_epochs_have_passed(small):
    train, _ = small
    model, times = models.mlp([]), []
    fit(model, SGD(model, 0.1), train, epochs=2, batch_size=32, on_step=times.append)
    assert times == [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]


def test_evaluation_uses_the_running_statistics_and_training_goes_on_after_it(small):
    train, test = small
    rng = stream(0, "init")
    model = layers.Sequential(layers.Flatten(), layers.BatchNorm(784), layers.Linear(784, 10, rng))
    fit(model, SGD(model, 0.01), train, test)
    norm = model.layers[1]
    before = norm.running_mean.copy()
    evaluate(model, test)
    assert_same(norm.running_mean, before)
    assert norm.training


def test_bytes_are_normalized_and_augmented_anew_in_every_epoch(rng):
    images = rng.integers(0, 256, (40, 8, 8, 3), np.uint8)
    seen = []

    class Note(PadCropFlip):
        def __call__(self, image, rng):
            seen.append(super().__call__(image, rng))
            return seen[-1]

    normalize = Normalize((0.5,) * 3, (0.25,) * 3)
    data = ImageSet(images, np.arange(40) % 10, transform=Note(4), normalize=normalize)
    model = models.mlp([], input_shape=(8, 8, 3))
    history = fit(model, SGD(model, 0.01), data, epochs=2, batch_size=10)
    assert len(history) == 2
    crops = {crop.tobytes() for crop in seen}
    assert len(crops) > 70  # of 80, and the image that is looked at first


class Shelf:
    """Images of bytes, those with these numbers damaged and to be skipped."""

    def __init__(self, damaged, count=40):
        self.damaged, self.count = {*map(int, damaged)}, count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return None if int(i) in self.damaged else np.full((2, 2, 3), 6 * i, np.uint8)


def shelf(damaged):
    """A set of 40 images in two classes, of which some are damaged."""
    normalize = Normalize((0.5,) * 3, (0.25,) * 3)
    return ImageSet(Shelf(damaged), np.arange(40) // 20, normalize=normalize)


class Stopped(Exception):
    """The end of a training that is to be resumed."""


@pytest.mark.parametrize("first", [0, 8, 16, 36])
def test_a_stopped_epoch_goes_on_where_it_was_though_a_whole_batch_is_damaged(first):
    """Stopped after every step, the first and the last and those without an image included."""
    order = stream(0, "order").permutation(40)
    data = shelf(order[first : first + 8])

    def trained(stops):
        model = models.mlp([3], input_shape=(2, 2, 3), classes=2)
        optimizer, progress, seen = SGD(model, 0.1), Progress(), []

        def on_step(_):
            seen.append(progress.step)
            if stops and len(seen) == 1:
                raise Stopped

        while True:
            seen.clear()
            try:
                history = fit(
                    model, optimizer, data, batch_size=4, epochs=2, on_step=on_step,
                    progress=progress,
                )  # fmt: skip
            except Stopped:
                continue
            return [entry["train_loss"] for entry in history], model.layers[1].params["W"]

    (losses, W), (other_losses, other) = trained(False), trained(True)
    assert losses == other_losses
    assert_same(W, other)


def test_the_seconds_of_an_epoch_are_those_before_a_stop_and_those_after(small):
    train, _ = small
    model = models.mlp([])
    progress = Progress(step=1, seen=32, seconds=1000.0)
    (entry,) = fit(model, SGD(model, 0.1), train, progress=progress)
    assert entry["seconds"] > 1000
    assert (progress.epoch, progress.step, progress.seen, progress.seconds) == (1, 0, 0, 0)


def test_images_of_which_none_can_be_read_are_one_line():
    data, model = shelf(range(40)), models.mlp([], input_shape=(2, 2, 3), classes=2)
    for attempt in (
        lambda: fit(model, SGD(model, 0.1), data),
        lambda: evaluate(model, data),
        lambda: fit(model, SGD(model, 0.1), shelf([3]), data),
    ):
        with pytest.raises(InputError, match=r"^data: expected at least one image that can be "):
            attempt()


def test_accuracy_and_loss_count_the_images_that_were_seen():
    data = shelf([3])._replace(labels=np.zeros(40, int))
    model = models.mlp([], input_shape=(2, 2, 3), classes=2)
    for param in model.layers[-1].params.values():
        param[...] = 0  # both classes equally likely: a loss of log 2, and class 0 on a tie
    loss, accuracy = evaluate(model, data, batch_size=7)
    assert loss == pytest.approx(np.log(2), rel=1e-6)
    assert accuracy == 1


def test_a_training_is_of_one_epoch_in_batches_of_32_by_seed_0_unless_told_otherwise(small):
    train, _ = small
    weights = []
    for options in ({}, {"epochs": 1, "batch_size": 32, "seed": 0}):
        model = models.mlp([])
        fit(model, SGD(model, 0.1), train, **options)
        weights.append(model.layers[-1].params["W"])
    assert_same(*weights)
    assert Progress() == Progress(0, 0, np.float32(0), seen=0, seconds=0.0, history=[])
    assert Training.resumable


def test_a_label_turns_the_progress_bar_on_in_a_terminal_alone(small, capsys, monkeypatch):
    train, test = small
    model = models.mlp([])
    fit(model, SGD(model, 0.1), train, test, label="my run")
    assert capsys.readouterr().err == ""  # a pipe or a log
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fit(model, SGD(model, 0.1), train, test)
    assert capsys.readouterr().err == ""
    fit(model, SGD(model, 0.1), train, test, label="my run")
    err = capsys.readouterr().err
    assert "my run: 100%" in err
    assert re.search(r"loss \d\.\d+, accuracy \d+\.\d%, \d+ images/s", err)


def test_the_bar_of_a_resumed_training_starts_at_the_steps_that_are_done(
    small, capsys, monkeypatch
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    train, _ = small  # 4 steps an epoch
    model, progress = models.mlp([]), Progress(epoch=2, step=1)
    fit(model, SGD(model, 0.1), train, epochs=3, progress=progress, label="my run")
    counts = re.findall(r"(\d+)/(\d+) ", capsys.readouterr().err)
    assert (counts[0], counts[-1]) == (("9", "12"), ("12", "12"))


def test_the_bar_shows_the_mean_loss_the_last_accuracy_and_the_speed(small):
    train, _ = small
    model, shown = models.mlp([]), []
    bar = SimpleNamespace(set_postfix_str=lambda words, refresh: shown.append(words))
    entry = {"train_loss": 2.0, "seconds": 5.0, "held_out_accuracy": 0.25}
    progress = Progress(1, 2, np.float32(96), seen=64, seconds=4.0, history=[entry])
    training = Training(model, SGD(model, 0.1), train, progress=progress)
    training._show(bar)  # 64 images of an epoch
    progress.seen = 0
    training._show(bar)  # the 100 images of the epoch before
    assert shown == [
        "loss 1.500, accuracy 25.0%, 16 images/s",
        "loss 2.000, accuracy 25.0%, 20 images/s",
    ]


def broken(data, name):
    """The data set with one thing wrong in it."""
    images, labels = data.images.copy(), data.labels.copy()
    if name == "nan":
        images[17, 3, 4, 0] = np.nan
    if name == "label":
        labels[7] = 10
    if name == "label count":
        labels = labels[:-1]
    if name == "label dtype":
        labels = labels.astype(float)
    if name == "empty":
        images, labels = images[:0], labels[:0]
    if name == "image dtype":
        images = images.astype("float64")
    if name == "image size":
        images = images[:, 1:]
    if name in ("labels as a list", "no labels"):
        return ImageSet(images, None if name == "no labels" else labels.tolist())
    if name == "list":
        return ImageSet(images.tolist(), labels)
    return (images, labels) if name == "tuple" else ImageSet(images, labels)


BAD_DATA = {
    "nan": "data: image 17 holds a number that is not finite",
    "label": "labels: expected 0 to 9, found 10 at position 7",
    "label count": "labels: expected shape (50,), one per sample, found (49,)",
    "label dtype": "labels: expected a NumPy array of integers, found float64",
    "empty": "data: expected at least one image, found none",
    "image dtype": "Linear(784, 10): expected input of dtype float32, found float64",
    "image size": "Linear(784, 10): expected input of shape (any, 784), found (1, 756)",
    "labels as a list": "labels: expected a NumPy array of integers, found list",
    "no labels": "labels: expected a NumPy array of integers, found NoneType",
    "list": "data: expected an ImageSet(images, labels) of arrays, found list",
    "tuple": "data: expected an ImageSet(images, labels) of arrays, found tuple",
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_is_one_line_and_nothing_is_trained(name, small):
    _, data = small
    model = models.mlp([])
    before = model.layers[1].params["W"].copy()
    attempts = (
        lambda: fit(model, SGD(model, 0.1), broken(data, name), batch_size=10),
        lambda: fit(model, SGD(model, 0.1), data, broken(data, name), batch_size=10),
        lambda: evaluate(model, broken(data, name)),
    )
    for attempt in attempts:
        with pytest.raises(InputError) as caught:
            attempt()
        assert str(caught.value) == BAD_DATA[name]
    assert_same(model.layers[1].params["W"], before)
    assert all(layer.training for layer in model.walk())


BAD_OPTIONS = {
    "epochs": (0, -1, 1.5, "2", None, [1], np.float64(1)),
    "batch_size": (51, 0, -1, 2.5, "2", None),
    "seed": (-1, 1.5, "1", None),
    "schedule": (3, "cosine"),
    "loss": (3, "mse", None),
    "on_step": (3,),
    "on_epoch": (3,),
    "progress": (3, None, Progress(epoch=2), Progress(step=99), Progress(epoch=-1)),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_impossible_options_are_one_line(name, small):
    _, data = small
    model = models.mlp([])
    for value in BAD_OPTIONS[name]:
        with pytest.raises(InputError, match=rf"^fit: expected .*{name}.*, found") as caught:
            fit(model, SGD(model, 0.1), data, **{name: value})
        assert "\n" not in str(caught.value)
    if name == "batch_size":
        for value in (0, -1, 2.5, "2", None):
            with pytest.raises(InputError, match=r"^evaluate: expected batch_size to be a whole"):
                evaluate(model, data, batch_size=value)


@pytest.mark.parametrize("rate", [-0.1, np.nan, np.inf, "0.1", None, [0.1], 1j])
def test_a_schedule_that_gives_no_rate_is_one_line(rate, small):
    _, data = small
    model = models.mlp([])
    with pytest.raises(InputError, match=r"^schedule: expected a rate of 0 or more, found"):
        fit(model, SGD(model, 0.1), data, schedule=lambda _: rate)


def test_what_is_no_network_and_no_optimizer_is_one_line(small):
    _, data = small
    model = models.mlp([])
    for optimizer in (None, SGD, "sgd"):
        with pytest.raises(InputError, match=r"^fit: expected optimizer to be an object of Optim"):
            fit(model, optimizer, data)
    for other in (None, layers.ReLU, [model]):
        with pytest.raises(InputError, match=r"^fit: expected a network such as models\.mlp"):
            fit(other, SGD(model, 0.1), data)
        with pytest.raises(InputError, match=r"expected a network such as models\.mlp"):
            evaluate(other, data)


def test_the_smallest_batches_and_the_largest_are_allowed(small):
    _, data = small
    for batch_size, steps in ((1, 50), (50, 1)):
        model, times = models.mlp([]), []
        fit(model, SGD(model, 0.001), data, batch_size=batch_size, on_step=times.append)
        assert len(times) == steps


def test_evaluation_leaves_every_layer_in_the_mode_it_was_in(small):
    _, data = small
    model = models.mlp([])
    model.layers[1].training = False
    evaluate(model, data)
    assert [layer.training for layer in model.walk()] == [True, True, False]


@pytest.mark.skipif(xp is not np, reason="on a GPU it is noticed at the end of an epoch")
def test_divergence_stops_the_run_with_the_epoch_and_the_rate(small):
    train, _ = small
    model = models.mlp([64, 64])
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            FloatingPointError,
            match=r"training diverged in step \d+ of epoch 1: .* overflow \(rms: .* than 1e",
        ),
    ):
        fit(model, SGD(model, 1e6), train)


def test_a_network_that_is_lost_in_the_last_step_of_an_epoch_has_no_accuracy(small):
    """No step sees its loss; the largest of outputs that are all NaN would be class 0."""
    train, held_out = small
    model = models.mlp([8])
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="its held-out loss is"):
        fit(model, SGD(model, 1e38), train, held_out, batch_size=len(train.labels))


@pytest.mark.skipif(xp is not np, reason="two trainings share one GPU's stream")
def test_two_trainings_in_two_threads_are_those_of_one_after_the_other(small):
    """Bit for bit; the first one to end leaves the other's BLAS as it was."""
    train, test = small
    epochs = (1, 3)
    meet = threading.Barrier(2, timeout=60)

    def weights(count, on_step=None):
        model = models.lenet(seed=count)
        fit(model, SGD(model, 0.05), train, test, epochs=count, seed=count, on_step=on_step)
        return [param for layer in model.walk() for param in layer.params.values()]

    def together(count):
        threads, first = set(), []

        def look(_):
            if not first:
                first.append(meet.wait())
            threads.update(library.get_num_threads() for library in blas_libraries())

        found = weights(count, look)
        assert threads <= {1}
        return found

    alone = [weights(count) for count in epochs]
    before = [library.get_num_threads() for library in blas_libraries()]
    with ThreadPoolExecutor(2) as pool:
        side_by_side = list(pool.map(together, epochs))
    assert [library.get_num_threads() for library in blas_libraries()] == before
    for ours, theirs in zip(side_by_side, alone, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)


def test_a_step_and_an_evaluation_of_ones_own_have_one_blas_thread_too(small):
    _, data = small
    model, seen = models.mlp([]), set()

    def loss(outputs, labels):
        seen.update(library.get_num_threads() for library in blas_libraries())
        return softmax_cross_entropy(outputs, labels)

    train_step(model, SGD(model, 0.1), to_device(data.images), data.labels, loss)
    evaluate(model, data, loss=loss)
    assert seen <= {1}
