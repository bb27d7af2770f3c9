"""`python -m bench.fidelity`: run the papers' comparisons, each once, and write docs/fidelity.md.

    python -m bench.fidelity                         everything that is still missing, hours on two cores
    python -m bench.fidelity --data trec6 --models starter/minilm-l6
    python -m bench.fidelity --page                  only write the page anew from the results there are

Every method gets the same effort: three learning rates (a third, once and three times its own default), of which the
best on the tuning rows is taken, then three seeds on the test rows. Results are kept line by line in results.jsonl, so
that an interrupted comparison goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from bench.fidelity import data, page

RESULTS = Path(__file__).with_name("results.jsonl")
EPOCHS = 5
SEEDS = (1, 2, 3)
FACTORS = (1 / 3, 1.0, 3.0)
#: Name in the tables -> the method and its settings.
METHODS: dict[str, dict[str, Any]] = {
    "full": {"name": "full"}, "head": {"name": "head"}, "bitfit": {"name": "bitfit"},
    "bitfit b_q": {"name": "bitfit", "biases": "query"}, "bitfit b_m2": {"name": "bitfit", "biases": "intermediate"},
    "random uniform": {"name": "bitfit", "control": "random_uniform"},
    "random rows": {"name": "bitfit", "control": "random_rows"},
    "lora": {"name": "lora"}, "adapter": {"name": "adapter"}, "p_tuning_v2": {"name": "p_tuning_v2"},
    "prompt_tuning": {"name": "prompt_tuning"}}


class Job(NamedTuple):
    """One run. `factor` is its learning rate over the method's default; `part` what it is scored on."""

    model: str
    source: str
    method: str
    factor: float
    seed: int
    part: str


def jobs(models: Sequence[str], sources: Sequence[str], done: dict[Job, float]) -> Iterator[Job]:
    """Yield what is to be run now: the tuning runs, then, for methods whose rate is chosen, the test runs."""
    for model in models:
        for source in sources:
            for method in METHODS:
                tuning = [Job(model, source, method, factor, SEEDS[0], "tune") for factor in FACTORS]
                missing = [job for job in tuning if job not in done]
                yield from missing
                if not missing:
                    best = max(tuning, key=lambda job: done[job])
                    yield from (job for seed in SEEDS if (job := best._replace(part="test", seed=seed)) not in done)


def run(job: Job, folder: str) -> float:
    """Train one run and return its score; a score that is no number counts as 0."""
    import math

    import torch

    from engine import models
    from engine import spec as specs
    from engine.train import run as train

    torch.set_num_threads(1)
    source = data.SOURCES[job.source]
    place = Path(folder) / job.source
    files = {part: place / f"{part}.csv" for part in ("train", "tune", "test")}
    path = models.locate(job.model).path
    method = specs.parse(data.document(source, files, "tune", job.model, METHODS[job.method], 1e-3, 1, 1)).method
    shape = models.inspect(path)
    rate = job.factor * method.learning_rate(shape.for_task("text_classification"), "text_classification")
    document = data.document(source, files, job.part, job.model, METHODS[job.method], min(rate, 1.0), job.seed, EPOCHS)
    with tempfile.TemporaryDirectory() as out:
        result = train(specs.parse(document), Path(out), resume=False)
    score = result.get("metrics", {}).get(source.metric, 0.0) if result["state"] == "succeeded" else 0.0
    return score if math.isfinite(score) else 0.0


def results() -> dict[Job, float]:
    """Return the scores there are."""
    if not RESULTS.exists():
        return {}
    lines = (json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines())
    return {Job(**{name: line[name] for name in Job._fields}): line["score"] for line in lines}


def work(models: Sequence[str], sources: Sequence[str], processes: int) -> None:
    """Run what is missing, `processes` at a time, and write down each score as it comes."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder, \
            ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for name in sources:
            data.write(data.SOURCES[name], Path(folder) / name)
        while waiting := list(jobs(models, sources, results())):
            futures = {pool.submit(run, job, folder): job for job in waiting}
            for number, future in enumerate(as_completed(futures), 1):
                job = futures[future]
                line = job._asdict() | {"score": round(future.result(), 5), "at": int(time.time())}
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(f"{number}/{len(waiting)}  {job.model} {job.source} {job.method} × {job.factor:.2g} "
                      f"seed {job.seed} {job.part}: {line['score']:.4f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparisons and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.fidelity", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["starter/minilm-l6"], help="ids or folders of encoders")
    parser.add_argument("--data", nargs="*", default=list(data.SOURCES), choices=list(data.SOURCES))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--page", action="store_true", help="only write the page")
    options = parser.parse_args(arguments)
    if not options.page:
        work(options.models, options.data, options.processes)
    scores: dict[tuple[str, str, str], list[float]] = {}
    for job, score in results().items():
        if job.part == "test":
            scores.setdefault((Path(job.model).name, job.source, job.method), []).append(score)
    page.write(scores, list(METHODS), {name: source.metric for name, source in data.SOURCES.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
