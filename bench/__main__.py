"""`python -m bench`: measure every claim, print a table, and keep it in docs/benchmarks.md.

    python -m bench                      everything, about an hour; writes docs/benchmarks.md
    python -m bench --quick              the same in small, under five minutes; writes nothing
    python -m bench start web            only those named; writes nothing, or with --keep their part of the page

Each bench is a function here, `measure(quick: bool) -> list[Row]`, and runs in a process of its own. The exit code is
1 when a claim was missed or a bench failed. Nothing else should be running on the machine.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import page, report
from bench.report import ROOT, Row

#: Bench -> what its claims are about, in the order they run: those that need a quiet machine most come first.
BENCHES = {
    "classification": "Classification beside plain Trainer + peft",
    "causal_lm": "Causal language models beside plain Trainer + peft",
    "methods": "What each method costs",
    "once": "What is computed once",
    "start": "Starting",
    "slots": "Two runs at once",
    "web": "Web process",
    "upload": "Uploads",
    "preview": "Preview card",
    "bigdata": "A million rows",
    "database": "A full database",
}
#: Where a bench is not `measure` of the module that bears its name.
ELSEWHERE = {"classification": ("training", "classification"), "causal_lm": ("training", "causal_lm"),
             "once": ("methods", "once")}
#: No bench may take longer, in seconds.
PATIENCE = 2400.0
PAGE = ROOT / "docs" / "benchmarks.md"


@dataclass
class Outcome:
    """What one bench found, how long it took, and the load of the machine before and after it."""

    name: str
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    load: str = ""
    problem: str = ""
    at: str = ""

    @property
    def well(self) -> bool:
        """Whether it ran and missed nothing."""
        return not self.problem and all(row.met is not False for row in self.rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benches and report; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(BENCHES)}")
    parser.add_argument("--quick", action="store_true", help="small forms, to see that everything works")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--write", type=Path, help="write the page there, whatever was measured")
    parser.add_argument("--keep", action="store_true", help="put what was measured in place of its part of the page")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        parser.error(f"there is no bench called {unknown[0]}; choose from {', '.join(BENCHES)}")
    if options.rows:
        return _child(options.names[0], options.quick, options.rows)
    before, began = report.load_average(), time.monotonic()
    outcomes = []
    for name in options.names or BENCHES:
        outcomes.append(_run(name, options.quick))
        if not options.json:
            print(f"## {BENCHES[outcomes[-1].name]}\n\n{_section(outcomes[-1])}\n", flush=True)
    facts = [*report.machine(), ("Load average", f"{before} before, {report.load_average()} after"),
             ("Duration", f"{time.monotonic() - began:.0f} s"),
             ("Command", shlex.join(["python", "-m", "bench", *(sys.argv[1:] if arguments is None else arguments)]))]
    if options.json:
        print(json.dumps({"facts": dict(facts), "benches": {one.name: {
            "rows": [report.as_dict(row) for row in one.rows], "seconds": one.seconds, "load": one.load,
            "problem": one.problem} for one in outcomes}}, indent=2))
    else:
        print("\n".join(f"{name}: {value}" for name, value in facts))
    sections = {BENCHES[one.name]: _section(one) for one in outcomes}
    place = options.write or (PAGE if not options.quick and not options.names else None)
    if place is not None:
        place.write_text(page.render(sections, facts), encoding="utf-8")
    elif options.keep:
        PAGE.write_text(page.replaced(PAGE.read_text(encoding="utf-8"), sections), encoding="utf-8")
    return 0 if all(one.well for one in outcomes) else 1


def _run(name: str, quick: bool) -> Outcome:
    """Run one bench in a process group of its own, so that nothing of it is left when it ends or takes too long."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    made, before, began = Outcome(name), report.load_average(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "bench", name, "--rows", str(rows), *(["--quick"] if quick else [])]
        process = subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr, start_new_session=True)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code, made.problem = -1, f"it took longer than {PATIENCE:.0f} s"
        finally:
            _end(process)
        if rows.exists():
            made.rows = [Row(**values) for values in json.loads(rows.read_text())]
        elif not made.problem:
            made.problem = f"it ended with code {code}"
    made.seconds = round(time.monotonic() - began, 1)
    made.at = f"{report.now()}, revision {report.revision()}"
    made.load = f"{before} before, {report.load_average()} after"
    return made


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _child(name: str, quick: bool, path: Path) -> int:
    module, function = ELSEWHERE.get(name, (name, "measure"))
    rows: list[Row] = getattr(importlib.import_module(f"bench.{module}"), function)(quick)
    path.write_text(json.dumps([{key: value for key, value in report.as_dict(row).items()
                                 if key not in ("ratio", "met")} for row in rows]))
    return 0


def _section(one: Outcome) -> str:
    lines = [f"**Not measured: {one.problem}.**", ""] if one.problem else []
    if one.rows:
        lines += [report.table(one.rows), ""]
    return "\n".join([*lines, f"`bench/{one.name}.py`, {one.seconds:.0f} s, load average {one.load}; {one.at}."])


if __name__ == "__main__":
    sys.exit(main())
