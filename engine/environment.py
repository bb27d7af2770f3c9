"""What a run ran on: versions, hardware, and settings of the process that make it faster."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

#: Environment a child process is best started with. Freed memory is kept instead of being returned to the system after
#: every step (page faults fall from 285k to under 10k a step); the tokenizer may use threads.
ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    # Threads that wait must not spin: beside a busy browser or a second run, spinning makes a run ten times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}

PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy", "pyarrow",
            "scikit-learn", "bitsandbytes", "peft-studio")

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def prepare_process() -> None:
    """Apply `ENVIRONMENT` to this process as far as it still can be: glibc's allocator takes it at any time."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 1 << 25)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        mallopt(_M_TOP_PAD, 1 << 26)


def place() -> tuple[int, int]:
    """Return this process's rank and the number of processes that share its run, as `accelerate launch` says."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ["RANK"]), world) if world > 1 else (0, 1)


def cpu_features() -> dict[str, bool]:
    """Return which of the instructions that matter for bf16 this processor has."""
    flags: set[str] = set()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.partition(":")[2].split())
                break
    return {"avx2": "avx2" in flags, "avx512": "avx512f" in flags, "avx512_bf16": "avx512_bf16" in flags,
            "amx_bf16": "amx_bf16" in flags, "arm_bf16": "bf16" in flags}


def describe(device: str, precision: str, model: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Return environment.json: versions, hardware, precision, and the hashes of model and data given."""
    import psutil
    import torch

    versions: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    cuda = [{"name": torch.cuda.get_device_name(i), "bytes": torch.cuda.get_device_properties(i).total_memory}
            for i in range(torch.cuda.device_count())] if device.startswith("cuda") else []
    return {
        "python": sys.version.split()[0], "platform": platform.platform(), "versions": versions,
        "hardware": {"cpu": _cpu_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
                     "memory_bytes": psutil.virtual_memory().total, "cpu_features": cpu_features(), "gpus": cuda},
        "device": device, "precision": precision, "load_average": list(os.getloadavg()), "model": model, "data": data,
    }


def resident_bytes() -> int:
    """Return the memory this process occupies now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """Return the most memory this process has occupied since it was started or forked."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return resident_bytes()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
