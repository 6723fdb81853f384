"""Batches: every image once, the same whatever the number of threads, read ahead, bounded."""

import threading
import time

import numpy as np
import pytest
from oracles import assert_close, assert_same

from nnref.backend import to_device, to_host
from nnref.data.imageset import (
    ImageSet,
    ahead,
    batch_starts,
    batches,
    check_data,
    split,
    watched,
)
from nnref.data.transforms import Normalize, PadCropFlip
from nnref.errors import InputError


@pytest.fixture
def photographs(rng):
    """60 pictures of bytes, each with its index in its first pixel, cropped at random."""
    images = rng.integers(0, 256, (60, 8, 8, 3), np.uint8)
    return ImageSet(images, np.arange(60), transform=PadCropFlip(4))


def gather(data, **options):
    """(images, labels) of one epoch."""
    parts = list(batches(data, 16, **options))
    images, labels = zip(*parts, strict=True)
    return np.concatenate([to_host(x) for x in images]), np.concatenate(labels)


@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_changes_nothing(photographs, threads):
    order = np.random.default_rng(1).permutation(60)
    one = gather(photographs, order=order, key=(3, 7), threads=1)
    more = gather(photographs, order=order, key=(3, 7), threads=threads)
    assert_same(one[0], more[0])
    assert_same(one[1], order)


def test_what_is_random_about_an_image_depends_on_seed_epoch_and_image_alone(photographs):
    first, _ = gather(photographs, key=(0, 1))
    order = np.arange(60)[::-1]
    reversed_, _ = gather(photographs, order=order, key=(0, 1))
    assert_same(first, reversed_[::-1])
    few = photographs._replace(images=photographs.images[:20], labels=photographs.labels[:20])
    assert_same(gather(few, key=(0, 1))[0], first[:20])
    for key in ((0, 2), (1, 1)):
        same = (gather(photographs, key=key)[0] == first).all(axis=(1, 2, 3))
        assert same.mean() < 0.2  # of 162 crops, some are drawn twice


def test_different_images_get_different_crops():
    alike = np.tile(np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1), (50, 1, 1, 1))
    crops, _ = gather(ImageSet(alike, np.zeros(50, int), transform=PadCropFlip(4)))
    assert len({crop.tobytes() for crop in crops}) > 30


def test_neighboring_images_share_no_random_numbers():
    draws = []

    def note(image, rng):
        draws.append(rng.random(50))
        return image

    list(batches(ImageSet(Shelf(20), np.arange(20), transform=note), 5))
    assert len(np.unique(draws)) == 20 * 50


def test_normalize_comes_last_and_on_the_whole_batch(photographs):
    seen = []

    def note(batch):
        seen.append(batch.shape)
        return batch.astype("float32") / 255

    x, _ = next(batches(photographs._replace(normalize=note), 16))
    assert seen[0] == (16, 8, 8, 3)
    assert x.dtype == "float32"


class Shelf:
    """Images made when asked for; None at the places `bad`, InputError at `worse`."""

    def __init__(self, count, bad=(), worse=()):
        self.count, self.bad, self.worse, self.asked = count, bad, worse, []

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        self.asked.append(int(i))
        if i in self.worse:
            raise InputError(f"image {i} is damaged")
        return None if i in self.bad else np.full((2, 2, 3), i, np.uint8)


def test_skipped_images_are_left_out_with_their_labels():
    images, labels = gather(ImageSet(Shelf(40, bad=[3, 38, 39]), np.arange(40)))
    assert labels.tolist() == [i for i in range(40) if i not in (3, 38, 39)]
    assert_same(images[:, 0, 0, 0], labels)


def test_a_batch_of_which_nothing_is_left_does_not_appear():
    data = ImageSet(Shelf(6, bad=[2, 3]), np.arange(6))
    assert [labels.tolist() for _, labels in batches(data, 2)] == [[0, 1], [4, 5]]


def test_an_error_in_a_thread_reaches_the_reader():
    with pytest.raises(InputError, match="image 20 is damaged"):
        gather(ImageSet(Shelf(40, worse=[20]), np.arange(40)), threads=2)


def test_images_of_several_shapes_need_a_transform():
    class Ragged(Shelf):
        def __getitem__(self, i):
            return np.zeros((2 + i % 2, 2, 3), np.uint8)

    expected = r"^batches: expected images of the same shape, found \(2, 2, 3\) and \(3, 2, 3\)"
    with pytest.raises(InputError, match=expected) as e:
        gather(ImageSet(Ragged(4), np.arange(4)))
    assert "--size 64" in str(e.value) and "size=64" in str(e.value)  # for both kinds of users


def test_reading_ahead_is_bounded_and_stops_with_its_reader():
    shelf, before = Shelf(1000), set(threading.enumerate())
    reader = batches(ImageSet(shelf, np.arange(1000)), 10, threads=2)
    next(reader)
    time.sleep(0.2)
    assert len(shelf.asked) <= 10 * (1 + 2 + 2)
    reader.close()
    after = len(shelf.asked)
    time.sleep(0.1)
    assert len(shelf.asked) == after
    left = set(threading.enumerate()) - before
    assert not any(thread.name.startswith("ThreadPoolExecutor") for thread in left)


def test_work_is_done_ahead_of_the_reader_and_in_order():
    started = []

    def work(job):
        started.append(job)
        time.sleep(0.02 * (job % 2))  # the second is ready before the first
        return job

    results = ahead(work, [1, 2, 3, 4, 5, 6], threads=2)
    assert next(results) == 1
    assert len(started) >= 2
    assert list(results) == [2, 3, 4, 5, 6]


def test_normalize_is_the_formula(rng):
    images = rng.integers(0, 256, (4, 3, 3, 3), np.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    expected = (images.astype("float64") / 255 - mean) / std
    found = Normalize(mean, std)(to_device(images))
    assert found.dtype == "float32"
    assert_close(found, expected, atol=1e-6)
    double = Normalize(mean, std, "float64")(to_device(images))
    assert_close(double, expected, atol=1e-15)


@pytest.mark.parametrize("shape", [(2, 5, 5, 4), (2, 5, 5, 1), (2, 5, 5)])
def test_normalize_names_images_that_have_no_such_channels(shape):
    with pytest.raises(InputError, match=r"^Normalize: expected images \(N, H, W, 3\), found \(2,"):
        Normalize((0.5,) * 3, (0.2,) * 3)(to_device(np.zeros(shape, np.uint8)))


def test_a_data_set_has_one_image_or_more():
    check_data(ImageSet(np.zeros((1, 2, 2, 3)), np.zeros(1, int)))
    with pytest.raises(InputError, match=r"^data: expected at least one image, found none"):
        check_data(ImageSet(np.zeros((0, 2, 2, 3)), np.zeros(0, int)))


def test_a_number_that_is_not_finite_is_found_wherever_it_is(rng):
    images = rng.random((5, 2, 2, 3))
    images[3, 1, 1, 2] = np.inf
    with pytest.raises(InputError, match=r"^data: image 3 holds a number that is not finite"):
        check_data(ImageSet(images, np.zeros(5, int)))
    check_data(ImageSet(images[:3], np.zeros(3, int)))


def test_a_list_of_images_is_not_a_data_set():
    with pytest.raises(InputError, match=r"^data: expected an ImageSet"):
        check_data(ImageSet([np.zeros((2, 2, 3))], np.zeros(1, int)))


def test_an_image_has_random_numbers_of_its_own_that_no_version_changes():
    draws = {}

    def note(image, rng):
        draws[int(image[0, 0, 0])] = rng.random(3)
        return image

    for key, options in (((3, 7), {"key": (3, 7)}), ((0, 0), {})):
        list(batches(ImageSet(Shelf(9), np.arange(9), transform=note), 4, **options))
        for i in range(9):
            same = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, i]))
            assert_same(draws[i], same.random(3))


def test_large_seeds_are_told_apart():
    draws = {}
    for seed in (2**63 + 5, 2**63 + 6, 2**64 - 1, 2**64 - 2):
        data = ImageSet(Shelf(1), np.arange(1), transform=lambda image, rng: rng.random((1, 1, 1)))
        ((x, _),) = batches(data, 1, key=(seed, 1))
        draws[float(to_host(x).item())] = seed
    assert len(draws) == 4


@pytest.mark.parametrize("count", [1, 3])
def test_images_are_prepared_by_as_many_threads_as_asked_for(count, monkeypatch):
    monkeypatch.setenv("NNREF_THREADS", str(count))
    names = set()

    def note(image, rng):
        names.add(threading.current_thread().name)
        time.sleep(0.01)
        return image

    list(batches(ImageSet(Shelf(20), np.arange(20), transform=note), 1))
    assert len(names) == count


def test_the_images_that_angles_are_measured_on_are_of_all_classes(rng):
    """Where files are sorted by class, the first ones are all of one; and they are not cropped."""
    labels = np.repeat(np.arange(10), 100)
    images = labels[:, None, None, None] * np.ones((1, 4, 4, 1), "float32")
    data = ImageSet(images, labels, transform=PadCropFlip(4))
    x, seen = watched(data, 128, None)
    assert len(seen) == 128 and set(seen.tolist()) == set(range(10))
    assert_same(to_host(x)[:, 0, 0, 0], seen.astype("float32"))
    assert_same(watched(data, 128, None)[1], seen)
    assert len(watched(data, 2000, None)[1]) == 1000


@pytest.mark.parametrize("threads", [1, 3])
def test_as_many_jobs_wait_as_threads_and_two_more(threads):
    taken = []

    def jobs():
        for job in range(20):
            taken.append(job)
            yield job

    results = ahead(lambda job: job, jobs(), threads)
    assert [next(results), len(taken)] == [0, threads + 2]
    assert [next(results), len(taken)] == [1, threads + 3]
    results.close()


@pytest.mark.parametrize(
    ("count", "batch_size", "starts"),
    [(5, 2, [0, 2]), (3, 2, [0]), (6, 2, [0, 2, 4]), (3, 1, [0, 1, 2]), (1, 2, [0]), (0, 2, []),
     (33, 32, [0]), (34, 32, [0, 32])],
)  # fmt: skip
def test_a_single_image_left_over_starts_no_batch_of_its_own(count, batch_size, starts):
    assert batch_starts(count, batch_size) == starts


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, None, "2"])
def test_a_batch_has_one_image_or_more(batch_size):
    with pytest.raises(InputError, match=r"^batches: expected batch_size to be a whole number of"):
        batch_starts(3, batch_size)


def test_a_share_of_the_images_is_split_off_at_random_and_none_is_in_both():
    train, test = ImageSet(np.arange(50), np.arange(50)), ImageSet(np.arange(9), np.arange(9))
    test = test._replace(transform="of the test", normalize="too")
    kept, held_out = split(train, test, 0.3, seed=1)
    assert len(held_out.labels) == 15
    assert sorted([*kept.labels, *held_out.labels]) == list(range(50))
    assert list(held_out.labels) == sorted(held_out.labels) != list(range(15))
    assert (kept.transform, kept.normalize) == (None, None)
    assert (held_out.transform, held_out.normalize) == ("of the test", "too")
    assert_same(split(train, test, 0.3, seed=1)[1].labels, held_out.labels)
    assert list(split(train, test, 0.3, seed=2)[1].labels) != list(held_out.labels)
    assert split(train, test, 0, seed=1) == (train, None)


@pytest.mark.parametrize("share", [1, -0.1, np.nan, "a", None, [0.1]])
def test_a_share_that_cannot_be_is_one_line(share):
    data = ImageSet(np.arange(50), np.arange(50))
    with pytest.raises(InputError, match=r"^split: expected a share from 0 to below 1, found"):
        split(data, data, share, seed=1)


@pytest.mark.parametrize("images", [None, 1.5, "a", {}, [[0.5]]])
def test_images_that_are_none_are_one_line(images):
    with pytest.raises(
        InputError, match=r"^data: expected an ImageSet\(images, labels\) of arrays, found"
    ):
        check_data(ImageSet(images, np.arange(1)))
