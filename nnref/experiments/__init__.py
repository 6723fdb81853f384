"""Experiments: replications of papers and open questions, a file each.

A file has three parts; how, where and in which order trials run is left to study.py.

The plan    PAPER             a paragraph: the paper and its claim, or the question
            TIERS             of smoke, small and full: a list of plan.Part
            plan(part)        yields a plan.Setting: the facts of a setting, its learning rates
                              (search.py chooses among them)
The maker   parts(part, facts, images) -> trial.Parts     model, optimizer, data, schedule
            measure(part, facts, images) -> history       of settings without a learning rate
The reading table(result), figures(result), claims(result)    of a result.Result (claims.py)

A trial is thus a function of plain data, a part of the plan and facts, which any process can
compute.
"""

import importlib

PAPERS = {  # name -> what it is about
    "lillicrap2016": "random feedback suffices, since W turns toward it",
    "liao2016": "signs matter, magnitudes hardly",
    "bartunov2018": "target propagation and feedback alignment on harder images",
    "xiao2018": "sign-symmetry scales to photographs, feedback alignment does not",
    "akrout2019": "the weight mirror and Kolen-Pollack come close to backpropagation",
    "nokland2016": "the error of the outputs straight to every layer",
    "sacramento2018": "errors in dendrites",
    "kunin2020": "rules that let B come to W, and how fragile they are",
    "song2021": "a wide network learns under random feedback without alignment",
}
QUESTIONS = {
    "concordance": "a feedback pathway that agrees with W in a share of its signs",
    "dale": "weights, or neurons, that keep their sign",
    "late_error": "an error that comes late, with and without eligibility traces",
    "plasticity": "potentiation and depression of different strength, or only one of them",
    "transport": "the bits that travel from W to B; a leak in BatchNorm",
}
EXPERIMENTS = PAPERS | QUESTIONS


def find(name: str):
    """The module of an experiment."""
    folder = "papers" if name in PAPERS else "questions"
    return importlib.import_module(f"nnref.experiments.{folder}.{name}")
