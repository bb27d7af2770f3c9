"""The runs of a comparison: which are missing, and what each scores. Results are kept line by line."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from bench.fidelity.comparison import Comparison, Effort, Trained
from bench.fidelity.encoders import ENCODERS
from bench.fidelity.pictures import PICTURES
from bench.fidelity.prompts import PROMPTS
from bench.fidelity.sentences import SENTENCES

COMPARISONS = {comparison.name: comparison for comparison in (ENCODERS, PROMPTS, SENTENCES, PICTURES)}


class RunFailed(Exception):
    """A run that did not end as it should, for another reason than numbers that grew beyond measure."""


class Job(NamedTuple):
    """One run. `factor` is its learning rate over the method's default; `part` what it is scored on."""

    comparison: str
    model: str
    source: str
    method: str
    factor: float
    seed: int
    part: str


@dataclass(frozen=True)
class Choice:
    """What of a comparison is to be run, and with what effort."""

    comparison: Comparison
    effort: Effort
    models: Sequence[str]
    sources: Sequence[str]
    methods: Sequence[str]

    def pairs(self) -> Iterator[Choice]:
        """Yield what is to be run of each model on each dataset, so that whole columns of a table get done."""
        for model in self.models:
            for source in self.sources:
                yield replace(self, models=[model], sources=[source])

    def jobs(self, done: dict[Job, float]) -> Iterator[Job]:
        """Yield what is to be run now: the tuning runs, then, for methods whose rate is chosen, the test runs."""
        first, *_ = seeds = self.effort.seeds
        for model, source, method in ((m, s, n) for m in self.models for s in self.sources for n in self.methods):
            rates = self.comparison.source(source).rates or source
            tuning = [Job(self.comparison.name, model, rates, method, factor, first, "tune")
                      for factor in self.effort.factors]
            missing = [job for job in tuning if job not in done]
            yield from missing
            if not missing:
                # Few rows give equal scores: then the rate nearest to the default.
                best = max(tuning, key=lambda job: (done[job], -abs(math.log(job.factor))))
                tests = (best._replace(source=source, part="test", seed=seed) for seed in seeds)
                yield from (job for job in tests if job not in done)


def read(results: Path) -> dict[Job, float]:
    """Return the scores there are."""
    if not results.exists():
        return {}
    lines = (json.loads(line) for line in results.read_text(encoding="utf-8").splitlines())
    return {Job(**{name: line[name] for name in Job._fields}): line["score"] for line in lines}


def work(choice: Choice, results: Path, built: Path, processes: int) -> None:
    """Run what is missing, `processes` at a time, and write down each score as it comes.

    Models without a slash in their name are looked for in `built`. Raises ModelError and RunFailed.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    if not next(choice.jobs(read(results)), None):
        return
    with tempfile.TemporaryDirectory() as name, \
            ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        folder = Path(name)
        places = {model: _place(choice.comparison, model, built, folder) for model in choice.models}
        asked = [choice.comparison.source(name) for name in choice.sources]
        for source in {name for one in asked for name in (one.name, one.rates) if name}:
            choice.comparison.store(choice.comparison.source(source), folder / source, choice.effort)
        for pair in choice.pairs():
            while waiting := list(pair.jobs(read(results))):
                futures = {pool.submit(run, job, pair.effort, places[job.model], folder): job for job in waiting}
                _round(futures, results)


def _round(futures: dict[Future[dict[str, Any]], Job], results: Path) -> None:
    """Write down what each run scored; raises RunFailed once all are done, so that one costs the others nothing."""
    failed: list[str] = []
    for number, future in enumerate(as_completed(futures), 1):
        job = futures[future]
        title = f"{job.model} {job.source} {job.method} × {job.factor:.2g} seed {job.seed} {job.part}"
        if (error := future.exception()) is not None:
            failed.append(f"{title}: {error}")
            print(f"{number}/{len(futures)}  {failed[-1]}", flush=True)
            continue
        line = job._asdict() | future.result() | {"at": int(time.time())}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{number}/{len(futures)}  {title}: {line['score']:.4f} in {line['seconds']:.0f} s", flush=True)
    if failed:
        raise RunFailed("\n".join(failed))


def _place(comparison: Comparison, model: str, built: Path, folder: Path) -> str:
    """Return the id of a model, or the folder where it lies as this comparison takes it."""
    from engine import models

    if "/" not in model:
        model = str(built / model)
    if comparison.fit is None:
        return model
    path = models.locate(model).path
    return str(comparison.fit(path, folder / "models" / path.name))


def run(job: Job, effort: Effort, model: str, folder: Path) -> dict[str, Any]:
    """Train one run; return its score (0 to 1; one that is no number counts as 0) and what it took."""
    import torch

    from engine import models
    from engine import spec as specs
    from engine.train import run as train

    torch.set_num_threads(1)
    began = time.monotonic()
    comparison = COMPARISONS[job.comparison]
    source, place = comparison.source(job.source), folder / job.source
    path = models.locate(model).path
    given = (source, place, job.part, model, job.method, effort)
    method = specs.parse(comparison.document(*given)).method
    usual = method.learning_rate(models.inspect(path).for_task(comparison.task), comparison.task)
    document = comparison.document(*given, min(job.factor * usual, 1.0), job.seed)
    with tempfile.TemporaryDirectory() as out:
        result = train(specs.parse(document), Path(out), resume=False)
        rows = place / f"{job.part}.{comparison.ending}"
        score = _score(comparison, Trained(result, Path(out), path, rows, source))
    return {"score": round(score, 5), "seconds": round(time.monotonic() - began, 1), "updates": result["steps"],
            "trained": result["parameters"].get("trained", 0)}


def _score(comparison: Comparison, trained: Trained) -> float:
    """Return the score of a run, 0 when it diverged; raises RunFailed."""
    if trained.result["state"] != "succeeded":
        error = trained.result["error"] or {}
        if error.get("kind") == "diverged":
            return 0.0
        raise RunFailed(error.get("what") or trained.result["state"])
    score = comparison.score(trained)
    return score if math.isfinite(score) else 0.0
