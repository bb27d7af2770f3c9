"""Our own tuners: after `import engine.tuners`, `PeftModel.from_pretrained` loads them like those of peft itself."""

from __future__ import annotations

import importlib
import pkgutil

for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")


def registered() -> set[str]:
    """Return the names of the tuners that are known to peft since this package was imported."""
    from engine.tuners.base import OWN

    return OWN
