"""What the workers' machines offer: memory, and packages that not every installation has."""

from __future__ import annotations

from db import workers
from db.users import User
from engine import models
from engine.models import QUANTIZER, NoQuantizer


def memory_there(user: User) -> tuple[int, str]:
    """Return the bytes of memory of the largest device that a worker offers, or of this machine, and its class."""
    devices = [row.device for row in workers.find(user) if row.device.get("memory_bytes")]
    if devices:
        best = max(devices, key=lambda device: (device.get("class") == "cuda", device["memory_bytes"]))
        return int(best["memory_bytes"]), str(best.get("class", "cpu"))
    import psutil

    return int(psutil.virtual_memory().total), "cpu"


def quantizer_there(user: User) -> bool:
    """Return whether a worker can load a base model in 4 or 8 bits; while none is there, whether this machine could."""
    told = [row.versions for row in workers.find(user) if row.versions]
    return any(QUANTIZER in versions for versions in told) if told else models.quantizer_installed()


def quantization_obstacle(user: User, quantization: str | None) -> NoQuantizer | None:
    """Return what forbids to load a base model so, None when nothing does."""
    return NoQuantizer("model.quantization") if quantization and not quantizer_there(user) else None
