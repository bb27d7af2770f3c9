"""What every child needs, imported once in the fork server so that children are ready in milliseconds.

Nothing here may start a thread, enter an OpenMP region or touch CUDA: none of these survive a fork.
"""

from __future__ import annotations

import contextlib
import gc
import importlib

MODULES = (
    "torch", "torch.nn.functional", "torch.utils.checkpoint", "numpy", "pyarrow", "pyarrow.parquet", "pyarrow.compute",
    "pyarrow.csv", "pyarrow.json", "safetensors.torch", "tokenizers", "transformers", "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert", "transformers.models.bert.tokenization_bert",
    "transformers.models.llama.modeling_llama", "transformers.models.llama.tokenization_llama",
    "transformers.generation.utils", "accelerate", "peft", "scipy.stats", "sklearn.metrics",
    "engine.spec", "engine.train", "engine.models", "engine.predict", "engine.data.read", "engine.data.stats",
)


def load() -> list[str]:
    """Import everything on the list; returns the names that are not there. A missing one only costs its child time."""
    missing = []
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing


MISSING = load()
with contextlib.suppress(RuntimeError):
    import torch

    torch.set_num_threads(1)

# Keeps the collector from touching, and so copying, the pages that children share with this process.
gc.collect()
gc.freeze()
