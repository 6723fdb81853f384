"""Write tutorials/claims.md: every claim, its published number, our number, and a verdict.

    python -m nnref.experiments.ledger

reads tutorials/results/NAME.json, as `python -m nnref replicate NAME` wrote them, and writes the
page beside that folder. An experiment without a result is "incomplete". The figures of every
experiment are drawn anew; those of one without a result are deleted.
"""

import sys
from collections import Counter
from pathlib import Path

from nnref.experiments import EXPERIMENTS, find
from nnref.experiments.numbers import UNDECIDED
from nnref.experiments.record import RESULT
from nnref.experiments.result import Result
from nnref.files import read_json, write_whole
from nnref.plots import style

TITLE = """# What holds, and what does not

Every claim of the papers that nnref replicates, and every prediction of our own where no paper has
an answer ("none in print"): the published number, our measurement with its setting, and a verdict.

- **Reproduced**: all conditions hold. **Partly**: some do, not counting the guards against a
  trivial result (such as that BP learns at all). **Not**: none does. Failed claims stay here.
- **Not tested at this scale**: our training was too short, or our network too small, to test the
  claim, whatever its conditions say. bartunov2018, nokland2016, sacramento2018 and xiao2018 have
  such conditions. For "A comes close to B" BP must have learned most of what it can: half the
  epochs may cost it at most 3 % of its accuracy. For a published number BP must come near its own:
  its error may be at most 1.5 times as large (twice in the deep networks of bartunov2018; in
  nokland2016, once, 1.5 times DFA's). **Undecided**: a threshold lies within the error of a
  measurement. The binomial error counts where an accuracy is of one seed, or of 1,000 test images
  or fewer.
- The conditions are in the code of each experiment. They were written before its result was known,
  except the first of late_error, written after one seed had been seen. No condition was changed in
  our favor afterward; the history of the files shows those that became stricter. The searches for
  learning rates were changed in concordance, dale, late_error and plasticity, where a first run had
  shown them to be too short or too narrow. This improved two verdicts of concordance.
- Changes of 2026-11-26, for all experiments: *not tested* and *undecided* became verdicts, and the
  search for a learning rate changed: while the best rate lies at an edge, the grid grows there; the
  best rate and those within 1 point of it are tried with a second seed; a rate at which a seed
  collapses (diverges, or has less than half of the other seed's accuracy) is refused; a search that
  ends at chance is repeated in trainings four times as long. The last of these came after a first
  run of nokland2016, of which six searches had ended at chance, and improved two of its verdicts.
  The experiments that had been run before (concordance, dale, late_error, liao2016, lillicrap2016,
  plasticity, transport) were run again. Stricter conditions: of liao2016 on the order of p, of
  transport on the cost of the gains, of xiao2018 on the angles of the weights, of sacramento2018 on
  the distance to BP (now on both sides, and only where BP is near its own published error). Added
  after its numbers were known: a row of liao2016, marked as such.
  The baseline of xiao2018 lost its weight decay, which had worn away the layers that do not learn:
  in 40 epochs it fell to 10 % accuracy.
- 2026-11-27, xiao2018: the LeNet was first trained for 40 epochs under all rules. Half of them cost
  BP 4 %, so it was trained again for 80, as the condition on the length asks; no other condition
  changed. With 40 epochs the shares of BP's accuracy were SS, BP last 0.98, SS 0.97, FA 0.39.
- 2026-11-27, all experiments: where a training of full length diverges, or at some time loses more
  than half of what it had learned, all seeds of its setting are trained with the next smaller
  learning rate, too, with up to three of them, and the rate that does best on held-out images is
  taken. Other settings are not trained with a second rate at full length. This rule came after such
  results had been seen, in eight cells of the tables. It changed liao2016 (frSF under Batch
  Manhattan on MNIST: 90.2 in place of 56.3 %), plasticity (SS, pairs with a bound: 93.6 in place of
  33.4), kunin2020 (WM: 56.5; it had diverged) and xiao2018 (FA in the LeNet: 57.3 in place of 33.6,
  so that a bound of 0.70 of BP is missed, which had been met). One verdict, of kunin2020, changed:
  from incomplete to reproduced. Where a smaller rate does no better, or only one rate is given, the
  mark ~ stays. One search of bartunov2018 that had ended at chance was repeated in longer trainings
  (convolutional, FA: error 82.0 in place of 85.2 %).
- Numbers are means ± standard deviations, with the number of seeds in brackets. Every rule has its
  own learning rate, chosen on held-out images, unless a line says that it is the paper's.
  "Recalled" marks a published number that was not read again at its source. "At birth" means: with
  the initial weights.

This page is made from the files in [results/](results) by `python -m nnref.experiments.ledger`.
"""


def page(results: Path) -> str:
    """The page for the results in a folder, in the order of EXPERIMENTS."""
    parts, counts = [], {}
    for name in EXPERIMENTS:
        path = results / f"{name}.json"
        result = Result(read_json(path, RESULT) if path.is_file() else None)
        for claim in find(name).claims(result):
            counts[claim.verdict] = counts.get(claim.verdict, 0) + 1
        parts.append(_part(name, result, results))
    total = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    return "\n".join([TITLE, f"So far: {total}.\n", *parts])


def _part(name, result, results) -> str:
    """The section of one experiment: its claims, its trainings, its table and its figures."""
    module = find(name)
    lines = [f"## {name}\n", f"{module.PAPER}\n"]
    lines += ["| claim | published | ours | verdict |", "|---|---|---|---|"]
    for claim in module.claims(result):
        why = "; ".join(
            f"{words}: {_ANSWER[answer]}"
            for words, answer in [*claim.scale, *claim.conditions, *claim.guards]
        )
        lines.append(
            f"| {claim.text} | {claim.published} | {claim.ours} ({claim.setting}) "
            f"| **{claim.verdict}**: {why} |"
        )
    record = result.record
    if not record["trials"]:
        return "\n".join([*lines, "\nNot run yet.\n"])
    sets = [
        f"{d['name']}, {d['classes']} classes, {d['train']:,} training images (a share of "
        f"{d['held_out']:g} held out), {d['test']:,} test images"
        for d in record["data"]
    ]
    data = "; ".join(dict.fromkeys(sets))  # each of them once
    versions = record["versions"]
    lines += [
        "",
        f"Tier `{record['tier']}`{'; ' if data else ''}{data}. {len(record['trials'])} trainings, "
        f"{record['wall_s'] / 3600:.1f} hours in all ({_computed(record)}; nnref "
        f"{versions['nnref']}, Python {versions['python']}). Again: `{record['command']}`.",
        "",
    ]
    if record["not_run"]:
        lines += [f"Left out: {', '.join(record['not_run'])}.", ""]
    lines += ["```text", module.table(result), "```", ""]
    figures = sorted((results.parent / "figures").glob(f"{name}-*.png"))
    lines += [f"![{name}: {path.stem[len(name) + 1 :]}](figures/{path.name})\n" for path in figures]
    return "\n".join(lines)


def _computed(record: dict) -> str:
    """What computed the trials; of several machines, how many each. Older trials do not say."""
    usual = record["versions"]["computes"]
    library = usual.partition(", cores")[0]
    counts = Counter(trial.get("computes", library) for trial in record["trials"])
    if len(counts) == 1:
        return usual
    return "; ".join(f"{count} on {computes}" for computes, count in counts.most_common())


_ANSWER = {True: "yes", False: "no", UNDECIDED: "undecided", None: "not measured"}


def main(folder: Path):
    """Write claims.md in the folder of the tutorials, and draw its figures."""
    if not any((folder / "results" / f"{name}.json").is_file() for name in EXPERIMENTS):
        raise SystemExit(f"{folder}/results: expected NAME.json of a replication, found none")
    for name in EXPERIMENTS:
        path = folder / "results" / f"{name}.json"
        for old in (folder / "figures").glob(f"{name}-*.png"):
            old.unlink()
        drawn = find(name).figures(Result(read_json(path, RESULT))) if path.is_file() else {}
        for figure, picture in drawn.items():
            style.save(picture, folder / "figures" / f"{name}-{figure}.png")
    write_whole(folder / "claims.md", page(folder / "results").encode())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "tutorials"))
