"""Experiments: replications of papers and open questions, a file each, its settings on top.

A file NAME.py has
    PAPER                      one sentence: the paper and what it claims, or the question
    TIERS, MINUTES             what smoke, small and full run, and how long that takes
    run(study, places, seeds)  the experiment (study.Study, images.Sources)
    table(result), figures(result), claims(result)
"""

import importlib

PAPERS = ["lillicrap2016", "liao2016", "bartunov2018", "xiao2018", "akrout2019"]
QUESTIONS = ["concordance", "dale", "late_error", "plasticity", "transport"]
EXPERIMENTS = PAPERS + QUESTIONS


def find(name: str):
    """The module of an experiment."""
    folder = "papers" if name in PAPERS else "questions"
    return importlib.import_module(f"nnref.experiments.{folder}.{name}")
