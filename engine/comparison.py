"""Scores adapters of one base model on the same rows: the base is loaded once, the adapters are attached in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import adapter, models
from engine.adapter import Trained
from engine.errors import Cancelled, DataError
from engine.recipe import finite
from engine.tasks.terms import Encoded
from engine.weights import NoTokenizer

if TYPE_CHECKING:
    import pyarrow as pa

#: Padded tokens of one batch.
BUDGET = 4096
#: The longest text where neither adapter nor model sets a limit, in tokens.
LONGEST = 1024


class LabelsUnknown(DataError):
    """The dataset has labels the adapters do not know: {unknown}."""

    kind = "labels_unknown"
    try_this = "Use a dataset with the labels the adapters were trained on: {known}."


@dataclass(frozen=True)
class Rows:
    """Rows to score on, and the column of each role."""

    table: pa.Table
    columns: Mapping[str, str]


class Bench:
    """A base model in memory on which adapters are scored one after the other."""

    def __init__(self, model_path: Path, trained: Trained, *, task_name: str = "", device: str | None = None,
                 cancelled: Callable[[], bool] = lambda: False) -> None:
        """Load the model in `model_path` for the task of `trained`. Raises ModelError."""
        import torch

        from engine import precision

        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._cancelled, self._task_name = cancelled, task_name
        formats = precision.choose("auto", self.device, whole=False)
        self.task = trained.make_task(task_name)
        self._loaded = models.load(model_path, self.task, trained.labels, dtype=formats.base, device=self.device)
        self._loaded.model.eval().requires_grad_(False)

    def attach(self, folder: Path) -> Any:
        """Return a model of the base with the adapter in `folder`; the base itself stays as it is."""
        return adapter.attach(self._loaded.model, adapter.read(folder), task_name=self._task_name)

    def encode(self, rows: Rows, folder: Path) -> Encoded:
        """Return the rows as the adapter in `folder` reads them. Raises LabelsUnknown, NoTokenizer."""
        trained = adapter.read(folder)
        tokenizer = adapter.tokenizer(folder) or self._loaded.tokenizer
        if tokenizer is None:
            raise NoTokenizer(folder.name)
        unknown = sorted(set(self.task.label_names(rows.table, rows.columns)) - set(trained.labels))
        if trained.labels and unknown:
            raise LabelsUnknown("label", unknown=", ".join(unknown[:5]), known=", ".join(trained.labels[:20]))
        self.task.prepare_tokenizer(tokenizer, rows.columns)
        limits = [n for n in (trained.max_length, self._loaded.shape.max_length) if n]
        return self.task.encode(rows.table, rows.columns, tokenizer, min(limits, default=LONGEST), trained.labels)

    def metrics(self, model: Any, encoded: Encoded, rows: Rows) -> dict[str, float | None]:
        """Return the task's metrics of `model` on encoded rows; None where one is not a number. Raises Cancelled."""
        import torch

        with torch.inference_mode():
            outputs = self.task.evaluate(model, encoded, rows.table, rows.columns, encoded.labels,
                                         self._batches(encoded))
        return {name: finite(float(value)) for name, value in outputs.metrics.items()}

    def score(self, folder: Path, rows: Rows) -> dict[str, float | None]:
        """Return the task's metrics of the adapter in `folder` on `rows`."""
        return self.metrics(self.attach(folder), self.encode(rows, folder), rows)

    def _batches(self, encoded: Encoded) -> Iterator[tuple[list[int], dict[str, Any]]]:
        from engine.batches import split
        from engine.evaluate import to_device

        lengths = [self.task.length(row) for row in encoded.rows]
        for chosen in split(range(len(lengths)), lengths, BUDGET):
            if self._cancelled():
                raise Cancelled("evaluation")
            batch = self.task.collate([encoded.rows[i] for i in chosen], self._pad_id)
            yield chosen, to_device(batch, self.device)

    @property
    def _pad_id(self) -> int:
        known = (self._loaded.model.config.pad_token_id, getattr(self._loaded.tokenizer, "pad_token_id", None))
        return int(next((i for i in known if isinstance(i, int)), 0))
