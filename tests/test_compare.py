"""Which runs beside a run are its baselines, and which are not."""

import copy
import json

import pytest

from nnref.runs.compare import baselines

RUN = {
    "settings": {
        "model": "mlp", "data": "digits", "feedback": "sign-symmetry", "lr": 0.1, "seed": 0,
        "schedule": "cosine", "epochs": 2,
    },
    "data": {"sha256": "a"},
    "history": [{"epoch": 2, "train_loss": 0.1, "held_out_accuracy": 0.9}],
    "test": {"accuracy": 0.9, "confusion": [[90, 10], [10, 90]]},
    "guess": 0.5,
    "wall_s": 1.0,
}  # fmt: skip


def write(folder, accuracy=0.9, validation=0.9, sha="a", **settings):
    """The result of a run, as `train` leaves it; return it."""
    result = copy.deepcopy(RUN)
    result["settings"] |= settings
    result["data"]["sha256"], result["test"]["accuracy"] = sha, accuracy
    result["history"][0]["held_out_accuracy"] = validation
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result))
    return result


def test_bp_and_the_last_layer_alone_are_baselines_of_their_neighbors(tmp_path):
    ours = write(tmp_path / "ss")
    assert baselines(tmp_path / "ss", ours) == {}
    write(tmp_path / "bp", 0.97, feedback="backprop", lr=0.3)  # a rate of its own
    write(tmp_path / "last", 0.71, feedback="last-layer-only")
    write(tmp_path / "fa", 0.8, feedback="feedback-alignment")
    found = {"BP (run bp)": 0.97, "the last layer alone (run last)": 0.71}
    assert baselines(tmp_path / "ss", ours) == found


def test_a_run_is_no_baseline_of_itself_nor_of_another_of_its_rule(tmp_path):
    ours = write(tmp_path / "bp", feedback="backprop")
    write(tmp_path / "again", feedback="backprop", lr=0.3)
    assert baselines(tmp_path / "bp", ours) == {}


@pytest.mark.parametrize(
    "other", [{"sha": "b"}, {"seed": 1}, {"epochs": 3}, {"last_feedback": "sign-symmetry"}]
)
def test_a_run_of_other_images_or_options_is_no_baseline(tmp_path, other):
    ours = write(tmp_path / "ss")
    write(tmp_path / "bp", **{"feedback": "backprop"} | other)
    assert baselines(tmp_path / "ss", ours) == {}


def test_of_several_the_best_on_validation_images_counts_and_none_that_has_not_learned(tmp_path):
    ours = write(tmp_path / "ss")
    write(tmp_path / "slow", 0.95, validation=0.91, feedback="backprop", lr=0.01)
    write(tmp_path / "good", 0.94, validation=0.92, feedback="backprop")
    write(tmp_path / "lost", 0.5, validation=0.99, feedback="backprop", lr=9)  # at chance
    assert baselines(tmp_path / "ss", ours) == {"BP (run good)": 0.94}


def test_with_seeds_the_same_seed_is_looked_up_in_the_folders_beside(tmp_path):
    ours = write(tmp_path / "ss" / "seed-1", seed=1)
    write(tmp_path / "bp" / "seed-1", 0.97, seed=1, feedback="backprop")
    write(tmp_path / "bp" / "seed-2", 0.98, seed=2, feedback="backprop")
    assert baselines(tmp_path / "ss" / "seed-1", ours) == {"BP (run bp)": 0.97}


@pytest.mark.parametrize(
    "damage",
    [
        {"data": None},
        {"data": [1]},
        {"data": "x"},
        {"test": {"accuracy": 0.9, "confusion": [[-90, 10], [10, -90]]}},
        {"history": []},
        {"settings": 1},
    ],
)
def test_a_damaged_result_is_passed_over(tmp_path, damage):
    ours = write(tmp_path / "ss")
    other = write(tmp_path / "bp", feedback="backprop") | damage
    (tmp_path / "bp" / "result.json").write_text(json.dumps(other))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "result.json").write_text('{"settings": 1')
    assert baselines(tmp_path / "ss", ours) == {}


def test_the_validation_accuracy_of_an_earlier_version_counts(tmp_path):
    ours = write(tmp_path / "ss")
    write(tmp_path / "new", 0.9, validation=0.81, feedback="backprop")
    old = write(tmp_path / "old", 0.97, feedback="backprop", lr=0.3)
    old["history"] = [{"epoch": 2, "train_loss": 0.1, "val_accuracy": 0.97}]
    (tmp_path / "old" / "result.json").write_text(json.dumps(old))
    assert baselines(tmp_path / "ss", ours) == {"BP (run old)": 0.97}


def test_the_schedule_of_a_baseline_is_its_own_and_unknown_images_are_not_alike(tmp_path):
    ours = write(tmp_path / "ss")
    other = write(tmp_path / "bp", 0.97, feedback="backprop", schedule="constant")
    assert baselines(tmp_path / "ss", ours) == {"BP (run bp)": 0.97}
    del other["data"]["sha256"]
    (tmp_path / "bp" / "result.json").write_text(json.dumps(other))
    assert baselines(tmp_path / "ss", ours | {"data": {}}) == {}


def test_a_folder_whose_name_begins_like_that_of_a_seed_is_one_run(tmp_path):
    ours = write(tmp_path / "seed-ss")
    write(tmp_path / "bp", 0.97, feedback="backprop")
    assert baselines(tmp_path / "seed-ss", ours) == {"BP (run bp)": 0.97}
