"""`python -m bench.fidelity`: run the papers' comparisons, each once, and write docs/fidelity.md.

    python -m bench.fidelity                         everything that is still missing, hours on two cores
    python -m bench.fidelity pictures --data ants_bees
    python -m bench.fidelity --page                  only write the page anew from the results there are
    python -m bench.fidelity --quick                 show that each comparison runs; keeps nothing, prints the page

Every method gets the same effort: three learning rates (a third, once and three times its own default), of which the
best on the tuning rows is taken, then three seeds on the test rows. Results are kept line by line in results.jsonl, so
that an interrupted comparison goes on where it was. Models named without a slash are made by the development models'
build.py and looked for in --built.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.fidelity import page
from bench.fidelity.comparison import SHARED, Comparison
from bench.fidelity.runs import COMPARISONS, Choice, Job, read, work
from bench.report import ROOT

RESULTS = Path(__file__).with_name("results.jsonl")
PAGE = ROOT / "docs" / "fidelity.md"


def choose(comparison: Comparison, options: argparse.Namespace) -> Choice:
    """Return what of a comparison was asked for; what it does not have is left out."""
    def wanted(every: Iterable[str], some: Sequence[str] | None) -> list[str]:
        return [name for name in every if some is None or name in some]

    return Choice(comparison, comparison.effort.quick() if options.quick else comparison.effort,
                  wanted(comparison.models, options.models), wanted((s.name for s in comparison.sources), options.data),
                  wanted(comparison.methods, options.methods))


def scores(comparison: Comparison, done: dict[Job, float]) -> dict[tuple[str, str, str], list[float]]:
    """Return the test scores of a comparison, one a seed, by model, dataset and method."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for job, score in done.items():
        if job.comparison == comparison.name and job.part == "test":
            found.setdefault((job.model, job.source, job.method), []).append(score)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparisons and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.fidelity", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparisons", nargs="*", metavar="COMPARISON",
                        help=f"some of {', '.join(COMPARISONS)}; all when none is named")
    parser.add_argument("--models", nargs="+", help="only these of the comparisons' models")
    parser.add_argument("--data", nargs="+", help="only these datasets")
    parser.add_argument("--methods", nargs="+", help="only these methods, by their names in the tables")
    parser.add_argument("--built", type=Path, default=SHARED / "models", help="folder of models made by build.py")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--quick", action="store_true", help="a few rows and two updates; nothing is kept")
    options = parser.parse_args(arguments)
    if unknown := set(options.comparisons) - set(COMPARISONS):
        parser.error(f"there is no comparison {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl" if options.quick else RESULTS
        for name in options.comparisons or COMPARISONS:
            if not options.page:
                work(choose(COMPARISONS[name], options), results, options.built.resolve(), options.processes)
        done = read(results)
    text = page.render((comparison, scores(comparison, done)) for comparison in COMPARISONS.values())
    if options.quick:
        print(text)
    elif done:
        PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
