"""The parts of the demo that the command line does not reach."""

import re

from nnref.tools import demo


def test_the_learning_rate_is_searched_on_training_digits_alone(capsys, digits, monkeypatch):
    train, test = digits
    poisoned = test._replace(labels=test.labels + 99)  # looking at a test digit would raise
    monkeypatch.setattr(demo.mnist, "load_subset", lambda: (train, poisoned))
    demo.search_learning_rate(rates=(0.003, 1e-9), seeds=(0,), epochs=1)
    lines = capsys.readouterr().out.splitlines()
    good, useless = (float(re.search(r"mean (0\.\d+)$", line)[1]) for line in lines)
    assert good > 0.8 > 0.3 > useless


def test_the_tables_show_a_dash_where_there_is_no_angle():
    record = {
        "network": [3, 2, 2],
        "rules": [
            {
                "name": "last-layer-only",
                "test_accuracy": 0.5,
                "weight_angle_deg": [None, 12.34],
                "delta_angle_deg": [None, 0.0],
                "wall_s": 1.26,
            }
        ],
        "guess": {"digit": 1, "test_accuracy": 0.117},
    }
    _, rule, guess = demo.table(record).splitlines()
    assert rule.split() == ["last-layer-only", "50.0%", "-"]
    assert guess.split() == ["always", "1,", "a", "guess", "11.7%"]
    _, _, rule, guess = demo.table_of_angles(record).splitlines()
    assert rule.split() == ["last-layer-only", "50.0%", "(-)", "12.3", "-", "0.0", "1.3"]
    assert guess.endswith("11.7%")
    record["rules"][0]["delta_angle_deg"] = [27.6, 0.0]
    assert demo.table(record).splitlines()[1].split()[-1] == "28"
