"""One claim measured is one `Row`; here is also what machine it was measured on, and how rows become a table."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
FEATURES = {"avx2": "AVX2", "avx512f": "AVX512", "avx512_bf16": "AVX512-bf16", "amx_bf16": "AMX-bf16", "bf16": "bf16"}
PACKAGES = ("torch", "transformers", "peft", "accelerate", "gradio", "sqlalchemy", "pyarrow")


@dataclass(frozen=True)
class Row:
    """One claim: `ours` beside `than`, the peer's figure or the limit, both in `unit`.

    The ratio ours / than must be at most `wanted`, or at least `wanted` where `higher` is better. Without `than` the
    row only informs: nothing was promised.
    """

    what: str
    ours: float
    unit: str
    than: float | None = None
    kind: Literal["limit", "peer"] = "limit"
    wanted: float = 1.0
    higher: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's figure or the limit."""
        return self.ours / self.than if self.than else None

    @property
    def met(self) -> bool | None:
        """Whether the claim holds; None where nothing was promised."""
        if self.than is None:
            return None
        if not math.isfinite(self.ours):
            return False
        bound = self.wanted * self.than
        return self.ours >= bound if self.higher else self.ours <= bound

    def cells(self) -> tuple[str, ...]:
        """Return the row's texts, in the order of HEADS."""
        beside = "" if self.than is None else f"{self.kind} {number(self.than)}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        wanted = "" if self.than is None else f"{'≥' if self.higher else '≤'} {self.wanted:g}"
        verdict = {True: "met", False: "**missed**", None: "–"}[self.met]
        return (self.what, f"{number(self.ours)} {self.unit}", beside, ratio, wanted, verdict, self.note)


HEADS = ("What", "Ours", "Beside", "Ratio", "Wanted", "Met", "Note")


def number(value: float) -> str:
    """Return a figure with three digits that matter."""
    if not math.isfinite(value):
        return "none"
    if value == 0 or 1e-3 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1e}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of `values` do not exceed; 0.5 is the median."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    texts = [HEADS, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in texts) for i in range(len(HEADS))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
             for line in texts]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def as_dict(row: Row) -> dict[str, Any]:
    """Return a row as JSON values."""
    return dataclasses.asdict(row) | {"ratio": row.ratio, "met": row.met}


def machine() -> list[tuple[str, str]]:
    """Return (name, value) of what the figures depend on: processor, memory, versions, revision."""
    name, flags = _processor()
    features = ", ".join(title for flag, title in FEATURES.items() if flag in flags) or "none of those looked for"
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return [("Machine", f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform(terse=True)}"),
            ("CPU features", features), ("Versions", f"Python {platform.python_version()}, {versions}"),
            ("Revision", revision()), ("Date", now())]


def now() -> str:
    """Return the date and time."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def load_average() -> str:
    """Return the load of the last 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _processor() -> tuple[str, set[str]]:
    found: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            found.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    flags = found.get("flags") or found.get("Features") or ""
    return found.get("model name") or platform.processor() or platform.machine(), set(flags.split())


def revision() -> str:
    """Return which version of the project this is."""
    try:
        answer = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True,
                                timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()
