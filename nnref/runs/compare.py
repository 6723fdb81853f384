"""`python -m nnref compare`: compare runs; those that differ by seed alone form a group."""

import json
import math
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
        raise InputError(f"{folder}: expected a finished run with a result.json, found none")
    return found


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
