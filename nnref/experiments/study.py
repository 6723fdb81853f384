"""Carry out an experiment: all trials of its plan, side by side, each kept in a file of its own.

Finished trials are read back, from their files or from an earlier result; interrupted ones continue
from their checkpoints.

OUT/trials/NAME.json    a finished trial: its facts, and the measurements after every epoch
OUT/trials/NAME.npz     the checkpoint of a trial that is under way
OUT/NAME.json           the result: all trials so far, data, machine and versions
"""

import math
from pathlib import Path
from statistics import mean

from nnref import experiments
from nnref.backend import versions
from nnref.errors import InputError
from nnref.experiments import record as records
from nnref.experiments import search
from nnref.experiments.images import Sources
from nnref.experiments.plan import SEARCH, WHOLE, Planned
from nnref.experiments.work import Trial, compute, epoch_seconds, images_of
from nnref.files import make_folder, read_json, write_whole
from nnref.parallel import jobs
from nnref.parallel.job import Job, reported_share
from nnref.parallel.workers import Workers

TIMED = 8  # settings of a part that are timed, at most


class Study:
    """An experiment under way: its name and tier, its folder, and its trials so far.

    sources    files that the user has, in place of downloads
    seeds      how many; None: as many as each part of the plan says
    command    what makes the result again, to be written into it
    """

    def __init__(self, name, tier, out: Path, sources=Sources(), seeds=None, command=""):
        self.name, self.tier, self.out, self.sources = name, tier, out, sources
        self.seeds, self.command, self.folder = seeds, command, out / "trials"
        self.data, self.missing, self.planned, self.records = [], [], [], {}
        self.begun = set()  # places
        make_folder(self.folder)
        for left_over in self.folder.glob(".*.tmp"):  # of a process that was killed
            left_over.unlink()
        earlier = out / f"{name}.json"
        if earlier.is_file():
            result = read_json(earlier, records.RESULT)
            if (found := result["tier"]) != tier:
                message = f"holds tier {found}; --tier {tier} needs another --out"
                raise InputError(f"{earlier}: {message}")
            records.unpack(result, self.folder)

    @property
    def trials(self) -> list[dict]:
        """The records so far, in the order of the plan, whatever was computed first."""
        return [self.records[place] for place in sorted(self.records)]

    def plan(self):
        """Load the images of every part once, note their facts, list all settings."""
        experiment = experiments.find(self.name)
        images_of.cache_clear()
        for number, part in enumerate(experiment.TIERS[self.tier]):
            try:
                images = images_of(self.name, self.tier, number, self.sources)
            except InputError as error:
                if self.sources.of(part.data) is not None:
                    raise
                print(f"{self.name}: {part.data} is left out: {error}")
                self.missing += [part.data] if part.data not in self.missing else []
                continue
            if images and images.facts not in self.data:
                self.data.append(images.facts)
            count, seeds = len(images.train.labels) if images else 0, self.seeds or part.seeds
            guess = 1 / images.facts["classes"] if images else 0.0
            for i, setting in enumerate(experiment.plan(part)):
                if len(setting.rates) > 1 and not part.held_out:
                    raise InputError(
                        f"{self.name}: expected held-out images to choose a rate by, found none"
                    )
                self.planned.append(Planned(part, (number, i), setting, count, seeds, guess))

    def left(self) -> list[tuple[Planned, list[dict]]]:
        """Every setting, with the facts of those of its trials that have no record yet."""
        return [(planned, planned.left(self._on_disk)) for planned in self.planned]

    def _on_disk(self, place, facts) -> dict | None:
        """The record of a trial, from its file."""
        path = self._file(facts)
        return records.read(path) if path.is_file() else None

    def _in_memory(self, place, facts) -> dict | None:
        """The record of a trial, if it has been read or computed."""
        return self.records.get(place)

    def _file(self, facts) -> Path:
        return records.file_of(self.folder, facts)

    def _report(self, facts) -> Path:
        """The file in which a trial that is under way says how far it is."""
        return self._file(facts).with_suffix(".share")

    def time(self, pool: Workers):
        """Find out how long an epoch of each setting takes, from short timings of some of them."""
        unfinished = [planned for planned, left in self.left() if left]
        for part in {planned.number[0] for planned in unfinished}:
            group = [planned for planned in unfinished if planned.number[0] == part]
            found = self._timed(group[:: math.ceil(len(group) / TIMED)], pool)
            usual = mean([seconds for seconds in found.values() if seconds] or [0])
            for planned in group:
                planned.epoch_s = found.get(planned.number, usual)

    def _timed(self, settings: list[Planned], pool: Workers) -> dict:
        """{number of a setting: seconds of an epoch}, the settings timed side by side."""
        trials = {p.number: self._trial(p, self._first(p)) for p in settings}
        tried = [
            Job(f"timing of {records.title(trial.facts)}", epoch_seconds, (trial,),
                trial.path.with_suffix(".timing"), number)
            for number, trial in trials.items()
        ]  # fmt: skip
        found = {}

        def finished(job, seconds):
            found[job.place] = seconds

        jobs.carry_out(tried, pool, finished, jobs.Bar("timing", len(tried), 1, shown=False))
        return found

    @staticmethod
    def _first(planned) -> dict:
        """The facts of one of its trials."""
        rates = planned.setting.rates
        return next(iter(planned.at_rate(rates[0] if rates else None).values()))

    def seconds_left(self) -> list[float]:
        """How long each of the trials takes that has no record yet."""
        return [
            planned.seconds(facts) * (1 - reported_share(self._report(facts)))
            for planned, left in self.left()
            for facts in left
        ]

    def how_many_left(self) -> int:
        """The number of trials that have no record yet."""
        return sum(len(left) for _, left in self.left())

    def how_far(self) -> str:
        """How many of the trials have a record; a search may yet ask for more of them."""
        count = sum(planned.count(self._on_disk) for planned in self.planned)
        return f"{count - self.how_many_left()} of {count} trials finished"

    def how_long(self, pool: Workers) -> str:
        """How long the rest takes, in words, from short timings on the processes of `pool`."""
        self.time(pool)
        left = self.seconds_left()
        return duration(max([sum(left) / pool.count, *left]))

    def carry_out(self, pool: Workers, shown: bool = False) -> dict:
        """Carry out all trials; return the result. `shown`: with a progress bar."""
        if not self.planned:
            self.plan()
        self.expected = {planned.number: planned.count(self._on_disk) for planned in self.planned}
        count, seconds = sum(self.expected.values()), sum(self.seconds_left()) or 1
        self.bar = jobs.Bar(self.name, count, seconds, shown)
        first = [job for planned in self.planned for job in self._next_jobs(planned)]
        jobs.carry_out(first, pool, self._finished, self.bar)
        return self.write()

    def _next_jobs(self, planned) -> list[Job]:
        """The jobs of a setting that wait for nothing and have not begun."""
        trials = planned.trials(self._in_memory)
        new = {place: facts for place, facts in trials.items() if place not in self.begun}
        self.begun |= new.keys()
        return [
            Job(
                records.title(facts), compute, (self._trial(planned, facts),),
                self._report(facts), place,
                0.0 if self._file(facts).is_file() else planned.seconds(facts),
            )
            for place, facts in new.items()
        ]  # fmt: skip

    def _trial(self, planned, facts) -> Trial:
        return Trial(self.name, self.tier, planned.number[0], facts, self.sources, self.folder)

    def _finished(self, job: Job, result: tuple[dict, bool]) -> list[Job]:
        """Add a record to the result; return the jobs that waited for it."""
        record, new = result
        self.records[job.place] = record
        if new:
            self.write()
            jobs.say(f"{self.name}: {records.line_about(record)}")
        (planned,) = (p for p in self.planned if p.number == job.place.setting)
        following = self._next_jobs(planned)
        more = planned.count(self._in_memory) - self.expected[planned.number]
        if more > 0:  # a search goes on for longer than expected, or another rate is tried
            self.expected[planned.number] += more
            usual = mean([each.seconds for each in following] or [planned.seconds(record)])
            self.bar.expect(more, more * usual)
        if following and job.place.stage == SEARCH and following[0].place.stage != SEARCH:
            for remark in planned.remarks(self._in_memory):
                jobs.say(f"{self.name}: {job.name}: {remark}")
        if new and following and following[0].place.rate > job.place.rate:
            setting, lr = planned.setting.facts, following[0].arguments[0].facts["lr"]
            fell = f"{self.name}: {records.title(setting)}: fell with lr {record['lr']:g}"
            jobs.say(f"{fell}, so {lr:g} is tried")
        return following

    def _taken(self) -> dict:
        """{setting: number of the rate that is taken}, where several were tried at full length.

        A rate of which trainings are still missing is not taken.
        """
        tried, taken = {}, {}
        for place, record in sorted(self.records.items()):
            if place.stage == WHOLE:
                rates = tried.setdefault(place.setting, {})
                rates.setdefault(place.rate, []).append(record)
        for setting, rates in tried.items():
            whole = {rate: found for rate, found in rates.items() if len(found) == len(rates[0])}
            if len(whole) > 1:
                taken[setting] = search.best_of(whole)
        return taken

    def write(self) -> dict:
        """Write the result so far as OUT/NAME.json; return it."""
        taken = self._taken()
        result = {
            "name": self.name,
            "tier": self.tier,
            "versions": versions(),
            "not_run": self.missing,
            "command": self.command,
            "data": self.data,
            "wall_s": round(sum(trial["seconds"] for trial in self.trials)),
            "trials": [
                records.brief(self.records[place] | place.marks(taken.get(place.setting, 0)))
                for place in sorted(self.records)
            ],
        }
        content = records.as_lines(records.rounded(result))
        write_whole(self.out / f"{self.name}.json", content.encode())
        return result


def duration(seconds: float) -> str:
    """A length of time in words, about as exact as an estimate."""
    for unit, count in ("hours", seconds / 3600), ("minutes", seconds / 60):
        if count >= 1.5:
            return f"about {count:.1f} {unit}" if count < 3 else f"about {count:.0f} {unit}"
    return f"about {max(2, round(seconds))} seconds"
