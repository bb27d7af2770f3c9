"""One label for each image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.data import cells, validate
from engine.findings import Finding
from engine.tasks.base import Batches, ColumnRole, Encoded, Outputs, Task, TaskCard
from engine.tasks.text_classification import label_order, single_label

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class ImageClassification(Task):
    """Sorts images into classes."""

    name: Literal["image_classification"] = "image_classification"
    card: ClassVar[TaskCard] = TaskCard(
        title="Image classification", order=60,
        summary="Give each image a label, from a folder for each class or a table that holds images.")
    roles: ClassVar[tuple[ColumnRole, ...]] = (
        ColumnRole("image", "Image", "The picture that is to be classified.", kind="image"),
        ColumnRole("label", "Label", "The right answer: its class."))
    needs: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"image", "label"}),)
    families: ClassVar[tuple[str, ...]] = ("vision",)
    playground: ClassVar[str] = ""
    preparing: ClassVar[str] = "Turning images into pixels"
    reads: ClassVar[Literal["text", "images"]] = "images"
    #: Images have one length each: there is no padding to leave out.
    packing: ClassVar[bool] = False

    @property
    def metric(self) -> str:
        """Share of right answers."""
        return "accuracy"

    # -- data ------------------------------------------------------------------------------------------------------

    def check(self, table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
        """Return what is wrong or odd about images and labels."""
        return validate.images(table, columns, eval_table=eval_table)

    def label_names(self, table: pa.Table, columns: Mapping[str, str]) -> list[str]:
        """Return the classes: numbers in numerical, words in alphabetical order."""
        names = cells.label_strings(table.column(columns["label"]))
        return sorted(set(names.drop_null().to_pylist()), key=label_order)

    def stratify_by(self, columns: Mapping[str, str]) -> str | None:
        """Keep the proportions of the classes."""
        return columns.get("label")

    def texts(self, table: pa.Table, columns: Mapping[str, str]) -> Iterator[str]:
        """Yield the name of each image."""
        yield from (name or "" for name in cells.image_names(table.column(columns["image"])).to_pylist())

    # -- model -----------------------------------------------------------------------------------------------------

    def auto_class(self) -> Any:
        """Return AutoModelForImageClassification."""
        from transformers import AutoModelForImageClassification
        return AutoModelForImageClassification

    def config(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the labels in transformers' words."""
        return {"num_labels": len(labels), "id2label": dict(enumerate(labels)),
                "label2id": {label: i for i, label in enumerate(labels)}, "problem_type": "single_label_classification"}

    def processor(self, folder: Path) -> Any | None:
        """Return the model's image processor; None when there is none."""
        from engine import images

        return images.processor_of(folder) if images.has_processor(folder) else None

    def encode(self, table: pa.Table, columns: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, max_length: int,
               labels: Sequence[str]) -> Encoded:
        """Make every image ready with the model's processor, given as `tokenizer`; images are never cut.

        A label that is not among `labels` gives -100: such a row is never right and has no loss.
        """
        from engine import images

        made = images.prepared(tokenizer, table.column(columns["image"]))
        count = images.tokens(made[0].shape) if made else 0
        number = {label: i for i, label in enumerate(labels)}
        known = "label" in columns and columns["label"] in table.column_names
        names = cells.label_strings(table.column(columns["label"])).to_pylist() if known else [None] * len(made)
        rows: list[dict[str, Any]] = [{"pixel_values": each, "tokens": count, "labels": number.get(name or "", -100)}
                                      for each, name in zip(made, names, strict=True)]
        return Encoded(rows=rows, labels=list(labels))

    def length(self, row: Mapping[str, Any]) -> int:
        """Return what an image counts for: its patches of 16 × 16 pixels."""
        return row["tokens"]

    def places(self, batch: Mapping[str, Any]) -> int:
        """Return the patches of 16 × 16 pixels of a batch."""
        from engine import images

        given = batch["pixel_values"]
        return given.shape[0] * images.tokens(given.shape)

    def collate(self, rows: Sequence[Mapping[str, Any]], pad_id: int, *, packed: bool = False) -> dict[str, Any]:
        """Return `pixel_values`, float32 of (batch, channels, height, width), and `labels`, (batch)."""
        import numpy as np
        import torch

        pixels = np.stack([np.asarray(row["pixel_values"]) for row in rows])
        return {"pixel_values": torch.from_numpy(pixels), "labels": torch.tensor([row["labels"] for row in rows])}

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the cross entropy summed over images."""
        return _losses(self.logits(model, batch), batch["labels"]).sum()

    def probe(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the outputs."""
        return self.logits(model, batch)

    def logits(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the model's outputs, (batch, labels)."""
        return model(**self.inputs(model, batch)).logits

    def inputs(self, model: torch.nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the pixels in the format of the model's first convolution."""
        import torch

        first = next((module for module in model.modules() if isinstance(module, torch.nn.Conv2d)), None)
        return {"pixel_values": batch["pixel_values"] if first is None else
                batch["pixel_values"].to(first.weight.dtype)}

    def evaluate(self, model: PreTrainedModel, encoded: Encoded, table: pa.Table, columns: Mapping[str, str],
                 labels: Sequence[str], batches: Batches) -> Outputs:
        """Return the metrics and one record an image, worst first."""
        import torch

        logits = torch.zeros(len(encoded.rows), len(labels))
        losses = torch.zeros(len(encoded.rows))
        for chosen, batch in batches:
            found = self.logits(model, batch).float()
            losses[chosen] = _losses(found, batch["labels"]).cpu()
            logits[chosen] = found.cpu()
        targets = torch.tensor([row["labels"] for row in encoded.rows])
        known = losses[targets != -100]
        metrics = single_label(logits.argmax(-1).numpy(), targets.numpy())
        metrics["loss"] = float(known.double().mean()) if len(known) else math.nan
        records = self._records(logits.softmax(-1), targets, losses, table, columns, labels)
        return Outputs(metrics=metrics, examples=sorted(records, key=lambda item: -item["loss"]))

    def _records(self, probabilities: torch.Tensor, targets: torch.Tensor, losses: torch.Tensor, table: pa.Table,
                 columns: Mapping[str, str], labels: Sequence[str]) -> Iterator[dict[str, Any]]:
        expected = cells.strings(table.column(columns["label"])).to_pylist()
        for i, name in enumerate(self.texts(table, columns)):
            best = int(probabilities[i].argmax())
            yield {"row": i, "input": name, "loss": round(float(losses[i]), 6), "expected": expected[i],
                   "predicted": labels[best], "confidence": round(float(probabilities[i, best]), 4),
                   "correct": best == int(targets[i])}


def _losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return one loss an image, zero where the label is not known."""
    from torch.nn import functional as F

    return F.cross_entropy(logits.float(), labels, reduction="none", ignore_index=-100)
