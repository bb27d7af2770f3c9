"""What this machine offers: cores, memory, graphics cards. Asks the driver's own tool, so that CUDA stays untouched."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("peft-studio", "torch", "transformers", "peft", "accelerate", "celery", "sqlalchemy", "bitsandbytes")


@dataclass(frozen=True)
class Card:
    """One graphics card. `memory_bytes` is its total memory."""

    index: int
    name: str
    memory_bytes: int


def cores() -> int:
    """Return how many cores this process may use: its affinity, capped by the container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass
    return max(count, 1)


def cards() -> list[Card]:
    """Return the CUDA cards that may be used here, in the order the children will see them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    tool = shutil.which("nvidia-smi")
    if tool is None or visible in ("", "-1") or "+cpu" in versions().get("torch", ""):
        return []
    try:
        answer = subprocess.run([tool, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"],
                                capture_output=True, text=True, timeout=20, check=True).stdout
        rows = [[part.strip() for part in line.split(",")] for line in answer.splitlines() if line.strip()]
        found = [Card(int(index), name, int(float(megabytes)) * 2**20) for index, name, megabytes in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    if visible is None:
        return found
    wanted = [part.strip() for part in visible.split(",")]
    return [card for part in wanted for card in found if part == str(card.index)]


def describe(found: list[Card]) -> dict[str, Any]:
    """Return the worker row's `device`: class, name, memory_bytes, cores, and the cards."""
    memory = psutil.virtual_memory().total
    name = found[0].name if found else _processor()
    return {"class": "cuda" if found else "cpu", "name": name, "cores": cores(), "ram_bytes": memory,
            "memory_bytes": found[0].memory_bytes if found else memory,
            "cards": [{"index": card.index, "name": card.name, "memory_bytes": card.memory_bytes} for card in found]}


def versions() -> dict[str, str]:
    """Return the versions of what matters for a run, read from package metadata without importing anything."""
    known = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            known[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return known


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
