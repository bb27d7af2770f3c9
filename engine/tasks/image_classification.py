"""One label for each image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from engine.augment import Preset
from engine.data import cells, validate
from engine.findings import Finding
from engine.knobs import knob
from engine.tasks.base import Task
from engine.tasks.terms import Asked, Batches, ColumnRole, Encoded, Outputs, Reply, TaskCard
from engine.tasks.text_classification import label_order

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from engine.scores import Gauge

#: The right class may be among this many, where there are more.
TOP = 5


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
    preparing: ClassVar[str] = "Turning images into pixels"
    reads: ClassVar[Literal["text", "images"]] = "images"
    #: Images have one length each: there is no padding to leave out.
    packing: ClassVar[bool] = False

    augmentation: Preset = knob("none", title="Augmentation", help=(
        "Change images a little each time they are learned from, which helps where there are few: light cuts up to "
        "30 % away and mirrors, strong cuts more and changes colours. Not for letters and digits: both mirror them."))

    @property
    def metric(self) -> str:
        """Share of right answers."""
        return "accuracy"

    @property
    def varies(self) -> bool:
        """Whether images are augmented."""
        return self.augmentation != "none"

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

    def vary(self, row: dict[str, Any], numbers: tuple[int, int, int]) -> dict[str, Any]:
        """Return an image augmented as `numbers`, seed, epoch and row, decide."""
        from engine import augment

        pixels = np.asarray(row["pixel_values"])
        return row | {"pixel_values": augment.changed(pixels, self.augmentation, numbers)}

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
        """Return the metrics, one record an image, worst first, and the charts."""
        import torch

        from engine import classification

        logits = torch.zeros(len(encoded.rows), len(labels), dtype=torch.float64)
        losses = torch.zeros(len(encoded.rows), dtype=torch.float64)
        for chosen, batch in batches:
            found = self.logits(model, batch).float()
            losses[chosen] = _losses(found, batch["labels"]).double().cpu()
            logits[chosen] = found.double().cpu()
        targets = np.asarray([row["labels"] for row in encoded.rows])
        expected = cells.label_strings(table.column(columns["label"])).to_pylist()
        made = classification.one_label(logits.numpy(), targets, losses.numpy(), list(self.texts(table, columns)),
                                        expected, labels)
        if len(labels) > TOP:
            near = classification.among_best(logits.numpy(), targets, TOP)
            for record in made.examples:
                record["top_5"] = bool(near[record["row"]])
            made.metrics["top_5"] = float(near.mean())
        return made

    def summarise(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the metrics of some of the records."""
        return self.gauge(records)(np.ones(len(records)))

    def gauge(self, records: Sequence[Mapping[str, Any]]) -> Gauge:
        """Return the function from how often each record counts to the metrics."""
        from engine import classification, scores

        inner = classification.gauge(records, "single_label")
        if not records or any("top_5" not in record for record in records):
            return inner
        near = np.asarray([record["top_5"] for record in records], dtype=np.float64)
        return lambda weights: inner(weights) | {"top_5": scores.share(near, weights)}

    def shares(self, records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Return the metrics that are shares of rows."""
        return dict.fromkeys(("accuracy", "f1_micro", "top_5"), len(records))

    def respond(self, asked: Asked, rows: Sequence[Mapping[str, Any]]) -> list[Reply]:
        """Return the class of each image, a path or a file's bytes; raises BrokenImage, ImageTooLarge."""
        from engine import images, verdicts

        encoded = self.encode(images.asked(rows), {"image": "image"}, asked.tokenizer, 0, asked.labels).rows
        return [verdicts.verdict(scores, asked.labels) for scores in verdicts.logits(self, asked, encoded, 0)]


def _losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return one loss an image, zero where the label is not known."""
    from torch.nn import functional as F

    return F.cross_entropy(logits.float(), labels, reduction="none", ignore_index=-100)
