"""Whether a run has learned is said from its record alone."""

import pytest

from nnref.runs.record import doubt


def record(losses, accuracy=0.9, images=2000, **settings):
    """A record of a run on ten classes, of which the most common one has a share of 0.12."""
    return {
        "settings": {"lr": 0.03, "schedule": "constant"} | settings,
        "history": [{"epoch": 0}, *({"epoch": 1, "train_loss": loss} for loss in losses)],
        "test": {"accuracy": accuracy, "confusion": [[images // 10] * 10, *[[0] * 10] * 9]},
        "guess": 0.12,
    }


@pytest.mark.parametrize(
    ("losses", "accuracy", "found"),
    [
        ([2.8, 35.8, 177.4], 0.57, "training loss 177 at the end, 2.8 in the first epoch"),
        ([0.4, 0.5], 0.8, "training loss 0.5 at the end, 0.4 in the first epoch"),
        ([2.8], 0.53, "training loss 2.8, that of a guess is 2.3"),
        ([5286852.0, 848908.0], 0.6, "training loss 8.49e+05, that of a guess is 2.3"),
        ([2.3, 2.29], 0.13, "test accuracy 13.0%, that of a guess is 12.0%"),
    ],
)
def test_a_run_that_has_not_learned_says_so_and_what_may_help(losses, accuracy, found):
    rate = "another" if found.startswith("test") else "a lower"
    assert doubt(record(losses, accuracy)) == (
        f"has it learned? {found}; {rate} --lr than 0.03 or --schedule cosine may help"
    )
    assert doubt(record(losses, accuracy, schedule="cosine")).endswith("--lr than 0.03 may help")


@pytest.mark.parametrize(
    ("losses", "accuracy"),
    [
        ([2.25], 0.14),
        ([0.4, 0.2, 0.21], 0.95),
        ([], 0.9),
        ([0.0], 1.0),
        ([0.5, 0.9, 0.0], 0.9),
        ([0.0100, 0.0101], 0.99),
    ],
)
def test_a_run_that_has_learned_says_nothing(losses, accuracy):
    assert doubt(record(losses, accuracy)) == ""


def test_few_test_images_prove_little():
    assert "test accuracy 30.0%" in doubt(record([2.0], accuracy=0.3, images=10))
    assert doubt(record([2.0], accuracy=0.3, images=100)) == ""
    assert doubt(record([2.0], accuracy=0.3, images=0)) == ""
