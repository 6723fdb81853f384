"""`python -m nnref compare`: compare runs; those that differ by seed alone form a group."""

import json
import math
import re
from pathlib import Path
from statistics import mean, stdev

from nnref.errors import InputError, one_line
from nnref.files import read_json, user_path
from nnref.rules.own import short
from nnref.runs.checkpoint import with_present_names
from nnref.runs.record import RESULT, doubt
from nnref.runs.settings import FIELDS

DEFAULTS = {name: field.default for name, field in FIELDS.items()}


def read(folders: list[Path]) -> list[dict]:
    """The groups of runs in these folders, also in the seed-* folders of `--seeds`.

    A group is {"name", "feedback", "results"}: results of runs that differ by their seed alone,
    named by the settings that are not the same in all groups.
    """
    paths = [path.resolve() for folder in folders for path in _result_files(user_path(folder))]
    if not paths:
        raise InputError("compare: expected at least one folder of a run, found none")
    groups = {}
    for path in dict.fromkeys(paths):
        result = read_json(path, RESULT)
        result["history"] = with_present_names(result["history"])
        result["settings"] = DEFAULTS | result["settings"]  # of an earlier version: fewer
        rest = {name: v for name, v in result["settings"].items() if name != "seed"}
        groups.setdefault(json.dumps(rest), []).append(result)
    settings = [json.loads(key) for key in groups]
    differing = [name for name in settings[0] if len({str(s.get(name)) for s in settings}) > 1]
    whole = [
        [f"{name} {s[name]}".removeprefix("feedback ") for name in differing] for s in settings
    ]
    names = [", ".join(map(short, words)) for words in whole]
    if len(set(names)) < len(names):  # rules of the same name, in files of other folders
        names = [", ".join(words) for words in whole]
    return [
        {"name": one_line(name or short(s["feedback"])), "feedback": s["feedback"], "results": runs}
        for name, s, runs in zip(names, settings, groups.values(), strict=True)
    ]


def _result_files(folder: Path) -> list[Path]:
    found = [folder / "result.json"] if (folder / "result.json").is_file() else []
    found += sorted(folder.glob("seed-*/result.json"))
    if not found:
        inside = any(folder.glob("*/result.json")) or any(folder.glob("*/seed-*/result.json"))
        hint = f"; it holds folders of runs: compare {folder}/*" if inside else ""
        raise InputError(f"{folder}: expected a finished run with a result.json, found none{hint}")
    return found


BASELINES = {"backprop": "BP", "last-layer-only": "the last layer alone"}
FREE = ("feedback", "last_feedback", "lr", "schedule")  # in these a baseline may differ


def baselines(folder: Path, record: dict) -> dict[str, float]:
    """The baselines of a run among the runs beside its folder: name -> test accuracy.

    Same images, model, seed and options; the rule is the baseline's, with a learning rate of its
    own. Of several, that of the best validation accuracy; only runs that seem to have learned. Of a
    run of `--seeds`, those in folders of the same seed.
    """
    folder = folder.absolute()
    many = re.fullmatch(r"seed-\d+", folder.name)
    above, pattern = (folder.parent.parent, f"*/{folder.name}") if many else (folder.parent, "*")
    found = {}
    for path in sorted(above.glob(f"{pattern}/result.json")):
        result = _neighbor(path)
        if result and _is_baseline(result, record):
            rule, accuracy = result["settings"]["feedback"], _validation(result)
            if rule not in found or accuracy > _validation(found[rule][1]):
                found[rule] = path.relative_to(above).parts[0], result
    return {
        f"{BASELINES[rule]} (run {name})": result["test"]["accuracy"]
        for rule, (name, result) in sorted(found.items())
    }


def _neighbor(path) -> dict | None:
    """The result in a file; None if it is damaged, of another program, or may not have learned."""
    try:
        result = read_json(path, RESULT | {"data": {"sha256": str}})
        result["history"] = with_present_names(result["history"])
        return None if doubt(result) else result
    except (InputError, ArithmeticError, ValueError):
        return None


def _is_baseline(result, record) -> bool:
    """Whether a result is a baseline of the run with this record."""
    settings, wanted = DEFAULTS | result["settings"], DEFAULTS | record["settings"]
    rule = settings["feedback"]
    if rule not in BASELINES or settings["last_feedback"] not in (None, rule):
        return False
    if wanted["feedback"] == rule and wanted["last_feedback"] in (None, rule):
        return False  # the run itself, or another of its rule
    must_agree = [name for name in wanted if name not in FREE]
    if any(settings.get(name) != wanted[name] for name in must_agree):
        return False
    return result["data"]["sha256"] == record.get("data", {}).get("sha256")


def _validation(result) -> float:
    """The last validation accuracy of a result; 0 where no images were held out."""
    return result["history"][-1].get("held_out_accuracy") or 0.0


def table(groups: list[dict]) -> str:
    """A line for each group: test accuracy, its spread over the seeds, time; and its doubts."""
    wide = max(len(group["name"]) for group in groups) + 2
    lines = [f"{'run':<{wide}}{'seeds':>6}{'test accuracy':>18}{'validation':>18}{'seconds':>9}"]
    for group in groups:
        runs = group["results"]
        test = [100 * run["test"]["accuracy"] for run in runs]
        val = [100 * run["history"][-1].get("held_out_accuracy", float("nan")) for run in runs]
        seconds = mean(run["wall_s"] for run in runs)
        lines.append(
            f"{group['name']:<{wide}}{len(runs):>6}{_spread(test):>18}{_spread(val):>18}"
            f"{seconds:>9.0f}"
        )
    lines.append("accuracies in %: mean ± standard deviation over the seeds")
    for group in groups:
        doubts = [problem for problem in map(doubt, group["results"]) if problem]
        if doubts:
            some = f"{len(doubts)} of {len(group['results'])}"
            lines.append(f"{group['name']}, {some}: {doubts[0]}")
    return "\n".join(lines)


def _spread(values) -> str:
    if not all(map(math.isfinite, values)):  # no images were held out
        return "-"
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
