"""Every replication from end to end on the shipped digits, and the ledger of the results."""

import json
import re

import pytest
from test_house import ROOT

from nnref.errors import InputError
from nnref.experiments import EXPERIMENTS, find, ledger
from nnref.experiments import images as sources
from nnref.experiments import study as trials
from nnref.experiments.study import Study

RESULTS = ROOT / "tutorials" / "results"


@pytest.fixture(scope="module", params=EXPERIMENTS)
def smoke(request, tmp_path_factory):
    """(module, study, result) of a smoke run."""
    module, out = find(request.param), tmp_path_factory.mktemp(request.param)
    study = Study(request.param, "smoke", out, {"command": "...", "data": []})
    module.run(study, sources.Sources())
    return module, study, study.write()


def test_a_smoke_run_trains_writes_and_draws(smoke):
    module, study, result = smoke
    assert result["trials"] and not study.missing
    assert json.loads((study.out / f"{study.name}.json").read_text()) == trials.rounded(result)
    assert "mean ± standard deviation over the seeds" in module.table(result)
    assert all(figure.axes for figure in module.figures(result).values())
    assert set(module.TIERS) == set(module.MINUTES) == {"smoke", "small", "full"}


def test_a_second_call_reads_every_trial(smoke, monkeypatch):
    module, study, result = smoke
    monkeypatch.setattr(trials, "_train", pytest.fail)
    again = Study(study.name, "smoke", study.out, {"command": "...", "data": []})
    module.run(again, sources.Sources())
    assert trials.rounded(again.write()["trials"]) == trials.rounded(result["trials"])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_without_a_result_every_claim_is_not_run_yet(name):
    assert {claim.verdict for claim in find(name).claims(None)} == {"not run yet"}


def test_images_that_are_not_to_be_had_are_left_out_and_the_rest_goes_on(tmp_path, capsys):
    study = Study("akrout2019", "small", tmp_path, {"command": "...", "data": []})

    def nowhere(*_, **__):
        raise InputError("no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "load", nowhere)
        find("akrout2019").run(study, sources.Sources())
    assert study.write()["not_run"] == ["mnist"]
    assert capsys.readouterr().out == "akrout2019: mnist is left out: no network\n"


def test_the_ledger_is_what_the_committed_results_say():
    assert (RESULTS.parent / "claims.md").read_text() == ledger.page(RESULTS)


def test_the_ledger_counts_its_verdicts():
    page = (RESULTS.parent / "claims.md").read_text()
    counted = {}
    for verdict in re.findall(r"\| \*\*([a-z ]+)\*\*:", page):
        counted[verdict] = counted.get(verdict, 0) + 1
    stated = re.search(r"So far: (.*)\.", page)[1]
    assert stated == ", ".join(f"{n} {verdict}" for verdict, n in sorted(counted.items()))
