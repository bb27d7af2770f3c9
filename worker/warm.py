"""What every child needs, imported once in the fork server so that children are ready in milliseconds.

Nothing here may start a thread, enter an OpenMP region or touch CUDA: none of these survive a fork.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import pkgutil

import engine

MODULES = (
    "torch", "torch.nn.functional", "torch.utils.checkpoint", "numpy", "pyarrow", "pyarrow.parquet", "pyarrow.compute",
    "pyarrow.csv", "pyarrow.json", "safetensors.torch", "tokenizers", "transformers", "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert", "transformers.models.bert.tokenization_bert",
    "transformers.models.llama.modeling_llama", "transformers.models.llama.tokenization_llama",
    "transformers.generation.utils", "accelerate", "peft", "peft.tuners.lora.bnb",
    "peft.utils.transformers_weight_conversion", "scipy.stats", "sklearn.metrics", "pyarrow.pandas_compat",
    "torch.profiler._cupti_monitor", "platformdirs.unix",
)


def load() -> list[str]:
    """Import the list and all of the engine; returns the names that are not there: their children import them late."""
    ours = [info.name for info in pkgutil.walk_packages(engine.__path__, "engine.") if "__main__" not in info.name]
    missing = []
    for name in (*MODULES, *ours):
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
