"""Experiments: replications of papers and open questions, a file each.

A file has three parts; how, where and in which order trials run is left to study.py.

The plan    PAPER             one sentence: the paper and its claim, or the question
            TIERS             of smoke, small and full: a list of plan.Part
            plan(part)        yields a plan.Setting: the facts of a setting, its learning rates
                              (search.py chooses among them)
The maker   parts(part, facts, images) -> trial.Parts     model, optimizer, data, schedule
            measure(part, facts, images) -> record        of settings without a learning rate
The reading table(result), figures(result), claims(result)    of a result.Result

A trial is thus a function of plain data, a part of the plan and facts, which any process can
compute.
"""

import importlib

PAPERS = ["lillicrap2016", "liao2016", "bartunov2018", "xiao2018", "akrout2019"]
PAPERS += ["nokland2016", "sacramento2018", "kunin2020", "song2021"]
QUESTIONS = ["concordance", "dale", "late_error", "plasticity", "transport"]
EXPERIMENTS = PAPERS + QUESTIONS


def find(name: str):
    """The module of an experiment."""
    folder = "papers" if name in PAPERS else "questions"
    return importlib.import_module(f"nnref.experiments.{folder}.{name}")
