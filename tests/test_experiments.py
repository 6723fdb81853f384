"""Every experiment from end to end on the shipped digits, and the ledger of the results."""

import json
import re

import pytest
from test_house import ROOT

from nnref.experiments import EXPERIMENTS, find, ledger, study, work
from nnref.experiments.record import rounded
from nnref.experiments.result import Result
from nnref.experiments.study import Study
from nnref.parallel.workers import Here

RESULTS = ROOT / "tutorials" / "results"
TIERS = {"smoke", "small", "full"}


@pytest.fixture(scope="module", params=EXPERIMENTS)
def smoke(request, tmp_path_factory):
    """(experiment, study, result) of a smoke run."""
    experiment, out = find(request.param), tmp_path_factory.mktemp(request.param)
    carried_out = Study(request.param, "smoke", out)
    return experiment, carried_out, carried_out.carry_out(Here())


def test_a_smoke_run_trains_writes_and_draws(smoke):
    experiment, study, result = smoke
    assert result["trials"] and not study.missing
    assert json.loads((study.out / f"{study.name}.json").read_text()) == rounded(result)
    assert "mean ± standard deviation over the seeds" in experiment.table(Result(result))
    assert all(figure.axes for figure in experiment.figures(Result(result)).values())


def test_a_second_call_reads_every_trial(smoke, monkeypatch):
    experiment, first, result = smoke
    monkeypatch.setattr(work, "train_trial", pytest.fail)
    again = Study(first.name, "smoke", first.out)
    assert rounded(again.carry_out(Here())["trials"]) == rounded(result["trials"])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_can_be_said_how_long_every_experiment_takes(name, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "TIMED_S", 0)
    monkeypatch.setattr(study, "TIMED", 2)
    planned = Study(name, "smoke", tmp_path)
    planned.plan()
    assert re.fullmatch(r"about [\d.]+ (seconds|minutes)", planned.how_long(Here()))
    assert sum(planned.seconds_left()) > 0 and planned.how_far().startswith("0 of ")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_every_tier(name):
    assert set(find(name).TIERS) == TIERS


@pytest.mark.parametrize("tier", sorted(TIERS))
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_plan_names_every_setting_once_and_in_plain_data(name, tier):
    experiment = find(name)
    for part in experiment.TIERS[tier]:
        settings = list(experiment.plan(part))
        facts = [json.dumps(setting.facts) for setting in settings]
        assert facts and len(set(facts)) == len(facts)
        assert all(json.loads(text) == s.facts for text, s in zip(facts, settings, strict=True))


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("record", [None, {"tier": "small", "data": [], "trials": []}])
def test_without_trials_every_claim_is_incomplete(name, record):
    claims = find(name).claims(Result(record))
    assert {claim.verdict for claim in claims} == {"incomplete"}
    assert len({claim.name for claim in claims}) == len(claims)


def test_the_ledger_is_what_the_committed_results_say():
    assert (RESULTS.parent / "claims.md").read_text() == ledger.page(RESULTS)


def test_the_ledger_counts_its_verdicts():
    page = (RESULTS.parent / "claims.md").read_text()
    counted = {}
    for verdict in re.findall(r"\| \*\*([a-z ]+)\*\*:", page):
        counted[verdict] = counted.get(verdict, 0) + 1
    stated = re.search(r"So far: (.*)\.", page)[1]
    assert stated == ", ".join(f"{n} {verdict}" for verdict, n in sorted(counted.items()))


def test_the_ledger_says_what_computed_how_many_trials():
    trials = [{"computes": "CuPy"}, {}, {"computes": "CuPy"}]  # the second is older
    record = {"versions": {"computes": "NumPy"}, "trials": trials}
    assert ledger._computed(record) == "2 on CuPy; 1 on NumPy"
    assert ledger._computed(record | {"trials": trials[1:2]}) == "NumPy"
