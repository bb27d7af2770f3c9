"""One label, several labels or a number for each text or pair of texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from engine import balance
from engine.data import cells, validate
from engine.data.findings import error
from engine.findings import Finding
from engine.knobs import knob
from engine.tasks.base import Task
from engine.tasks.terms import Asked, Batches, ColumnRole, Encoded, Outputs, Reply, TaskCard

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from engine.scores import Gauge

Problem = Literal["single_label", "multi_label", "regression"]
#: Metrics that can decide, by kind of label; the first does unless another is chosen.
DECIDING: dict[Problem, tuple[str, ...]] = {
    "single_label": ("accuracy", "f1", "matthews_correlation", "roc_auc", "loss"),
    "multi_label": ("f1_micro", "f1", "accuracy", "roc_auc", "loss"),
    "regression": ("pearson", "spearman", "mse", "mae", "loss")}


class TextClassification(Task):
    """Sorts texts into classes; also several classes at once, or a score."""

    name: Literal["text_classification"] = "text_classification"
    card: ClassVar[TaskCard] = TaskCard(
        title="Text classification", order=10,
        summary="Give each text, or pair of texts, a label: intent, sentiment, topic, entailment, a score.")
    roles: ClassVar[tuple[ColumnRole, ...]] = (
        ColumnRole("text", "Text", "What is to be classified."),
        ColumnRole("text_pair", "Second text", "A second text to judge together with the first, such as a hypothesis."),
        ColumnRole("label", "Label", "The right answer: a class, a list of classes, or a number."))
    needs: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"text", "label"}),)
    families: ClassVar[tuple[str, ...]] = ("encoder", "decoder", "encoder-decoder")

    problem: Problem = knob("single_label", title="Kind of label", words={
        "single_label": "One label a text", "multi_label": "Several labels a text", "regression": "A number a text"},
        help="Whether a text has one class, any number of classes, or a number. Numbers may be of any size: what "
             "learns them sees deviations from their mean, and the trained model gives them as they are.")
    separator: str = knob("auto", advanced=True, title="Label separator", shown_if={"problem": "multi_label"},
                          help="What stands between several labels in one cell; auto finds | ; or ,")
    threshold: Literal["auto"] | float = knob(
        "auto", advanced=True, title="Threshold", shown_if={"problem": "multi_label"}, slider=(0.05, 0.95), step=0.01,
        help="A label is given from this probability on. Auto takes the one with the best micro F1 on the evaluation "
             "rows, and saves it with what was trained.")
    class_weights: Literal["none", "balanced"] | dict[str, float] = knob(
        "none", advanced=True, title="Class weights", shown_if={"problem": ["single_label", "multi_label"]},
        help="How much each label counts in training: all alike, balanced (rare ones more), or by name: spam=3, ham=1.")
    deciding: Literal["auto", "accuracy", "f1", "f1_micro", "matthews_correlation", "roc_auc", "pearson", "spearman",
                      "mse", "mae", "loss"] = knob(
        "auto", advanced=True, title="Deciding metric", words={
            "f1": "F1", "f1_micro": "Micro F1", "matthews_correlation": "Matthews' correlation", "roc_auc": "ROC-AUC",
            "pearson": "Pearson's r", "spearman": "Spearman's ρ", "mse": "Mean squared error",
            "mae": "Mean absolute error"},
        help="Tells which evaluation was best. Auto: accuracy for one label, micro F1 for several, Pearson's r for a "
             "number.")

    @field_validator("class_weights", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return balance.named(value) if isinstance(value, str) and "=" in value else value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.deciding != "auto" and self.deciding not in DECIDING[self.problem]:
            raise ValueError(f"deciding must be auto, {', '.join(DECIDING[self.problem])} with {self.problem}")
        if isinstance(self.threshold, float) and not 0 < self.threshold < 1:
            raise ValueError("threshold must be auto or a number between 0 and 1")
        if self.class_weights != "none" and self.problem == "regression":
            raise ValueError("class_weights belong to labels, not to numbers")
        if isinstance(self.class_weights, dict) and not all(0 <= value < math.inf
                                                            for value in self.class_weights.values()):
            raise ValueError("class_weights must be 0 or more")
        return self

    @property
    def metric(self) -> str:
        """Accuracy for one label, micro F1 for several, Pearson's r for numbers, unless another is chosen."""
        return DECIDING[self.problem][0] if self.deciding == "auto" else self.deciding

    # -- data ------------------------------------------------------------------------------------------------------

    def check(self, table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
        """Return what is wrong or odd about texts and labels."""
        found = validate.classification(table, columns, self.problem, eval_table=eval_table, separator=self.separator)
        if not isinstance(self.class_weights, dict) or any(finding.level == "error" for finding in found):
            return found
        strange = sorted(set(self.class_weights) - set(self.label_names(table, columns)))
        return found if not strange else [error(
            "weight_without_label", f"A class weight is given for '{strange[0]}', which is no label of the data.",
            "data.options.class_weights", "Correct the label's name, or leave it out."), *found]

    def label_names(self, table: pa.Table, columns: Mapping[str, str]) -> list[str]:
        """Return the classes: numbers in numerical, words in alphabetical order; one nameless output for a number."""
        if self.problem == "regression":
            return ["score"]
        column = table.column(columns["label"])
        if self.problem == "multi_label":
            names = cells.several(column, self.separator)[0]
        else:
            names = cells.label_strings(column)
        return sorted(set(names.drop_null().to_pylist()), key=label_order)

    def stratify_by(self, columns: Mapping[str, str]) -> str | None:
        """Keep the proportions of the classes when every text has one."""
        return columns.get("label") if self.problem == "single_label" else None

    def texts(self, table: pa.Table, columns: Mapping[str, str]) -> Iterator[str]:
        """Yield the text, with its second text on a line of its own."""
        first = _texts(table, columns["text"])
        if "text_pair" in columns:
            yield from (f"{a}\n{b}" for a, b in zip(first, _texts(table, columns["text_pair"]), strict=True))
        else:
            yield from first

    # -- model -----------------------------------------------------------------------------------------------------

    def auto_class(self) -> Any:
        """Return AutoModelForSequenceClassification."""
        from transformers import AutoModelForSequenceClassification
        return AutoModelForSequenceClassification

    def config(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the labels and the kind of problem in transformers' words."""
        problem = {"single_label": "single_label_classification", "multi_label": "multi_label_classification",
                   "regression": "regression"}[self.problem]
        return {"num_labels": len(labels), "id2label": dict(enumerate(labels)),
                "label2id": {label: i for i, label in enumerate(labels)}, "problem_type": problem}

    def encode(self, table: pa.Table, columns: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, max_length: int,
               labels: Sequence[str]) -> Encoded:
        """Tokenise text (and second text), and turn labels into targets; with class weights, rows get theirs too.

        A label that is not among `labels` gives -100: such a row is never right and has no loss.
        """
        import numpy as np

        first = _texts(table, columns["text"])
        second = _texts(table, columns["text_pair"]) if "text_pair" in columns else None
        whole = tokenizer(first, second, return_attention_mask=False, verbose=False)
        truncated = sum(len(ids) > max_length for ids in whole["input_ids"])
        if truncated:
            whole = tokenizer(first, second, truncation=True, max_length=max_length, return_attention_mask=False)
        names = [name for name in ("input_ids", "token_type_ids") if name in whole]
        targets = self._targets(table, columns, labels)
        rows: list[dict[str, Any]] = [{name: np.asarray(whole[name][i], dtype=np.int32) for name in names}
                                      | {"labels": targets[i]} for i in range(len(first))]
        if self.class_weights != "none" and targets != [-100] * len(targets):
            for row, weight in zip(rows, balance.row_weights(targets, labels, self.class_weights), strict=True):
                row["weights"] = weight
        return Encoded(rows=rows, truncated=truncated, labels=list(labels))

    def _targets(self, table: pa.Table, columns: Mapping[str, str], labels: Sequence[str]) -> list[Any]:
        if "label" not in columns or columns["label"] not in table.column_names:
            return [-100] * table.num_rows
        column = table.column(columns["label"])
        number = {label: i for i, label in enumerate(labels)}
        if self.problem == "regression":
            return cells.numbers(column).to_pylist()
        if self.problem == "multi_label":
            chosen = [[0.0] * len(labels) for _ in range(table.num_rows)]
            for label, row in zip(*(part.to_pylist() for part in cells.several(column, self.separator)), strict=True):
                if label in number:
                    chosen[row][number[label]] = 1.0
            return chosen
        return [number.get(label, -100) for label in cells.label_strings(column).to_pylist()]

    def targets(self, row: Mapping[str, Any]) -> int:
        """Every example counts once, whatever its length."""
        return 1

    def numbers(self, rows: Sequence[Mapping[str, Any]]) -> list[float]:
        """Return the numbers to be learned by regression."""
        return [row["labels"] for row in rows] if self.problem == "regression" else []

    def label_tensor(self, rows: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Return the targets of a batch: class numbers (batch), 0/1 (batch, labels), or numbers (batch)."""
        import torch

        kind = torch.long if self.problem == "single_label" else torch.float32
        return torch.tensor([row["labels"] for row in rows], dtype=kind)

    def collate(self, rows: Sequence[Mapping[str, Any]], pad_id: int, *, packed: bool = False) -> dict[str, Any]:
        """Add `labels`, and `weights` where there are any, to the tensors of the batch."""
        made = super().collate(rows, pad_id, packed=packed) | {"labels": self.label_tensor(rows)}
        if "weights" in rows[0]:
            import torch

            made["weights"] = torch.tensor([row["weights"] for row in rows], dtype=torch.float32)
        return made

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the cross entropy, binary cross entropy (mean over labels) or squared error, summed over examples.

        Class weights count here only: losses of evaluations are plain.
        """
        return self.losses(self.logits(model, batch), batch["labels"], batch.get("weights")).sum()

    def probe(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the outputs."""
        return self.logits(model, batch)

    def logits(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the model's outputs, (batch, outputs)."""
        from engine.attention import set_layout

        set_layout(batch.get("layout"))
        return model(**self.inputs(model, batch)).logits

    def losses(self, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Return one loss an example; `logits` (batch, outputs), `weights` (batch), or (batch, outputs) of labels."""
        from torch.nn import functional as F
        logits = logits.float()
        if self.problem == "regression":
            return (logits.squeeze(-1) - labels) ** 2
        if self.problem == "multi_label":
            return F.binary_cross_entropy_with_logits(logits, labels, weights, reduction="none").mean(-1)
        found = F.cross_entropy(logits, labels, reduction="none", ignore_index=-100)
        return found if weights is None else found * weights

    def evaluate(self, model: PreTrainedModel, encoded: Encoded, table: pa.Table, columns: Mapping[str, str],
                 labels: Sequence[str], batches: Batches) -> Outputs:
        """Return the metrics of the problem, one record a row, worst first, and the charts."""
        import numpy as np
        import torch

        from engine import classification
        rows = len(encoded.rows)
        logits = torch.zeros(rows, max(1, len(labels)), dtype=torch.float64)
        losses = torch.zeros(rows, dtype=torch.float64)
        for chosen, batch in batches:
            found = self.logits(model, batch).float()
            losses[chosen] = self.losses(found, batch["labels"]).double().cpu()
            logits[chosen] = found.double().cpu()
        targets, texts = np.asarray([row["labels"] for row in encoded.rows]), list(self.texts(table, columns))
        if self.problem == "regression":
            return classification.numbers(logits[:, 0].numpy(), targets, losses.numpy(), texts)
        if self.problem == "multi_label":
            fixed = None if self.threshold == "auto" else self.threshold
            return classification.several_labels(logits.numpy(), targets, losses.numpy(), texts, labels, fixed)
        expected = cells.label_strings(table.column(columns["label"])).to_pylist()
        return classification.one_label(logits.numpy(), targets, losses.numpy(), texts, expected, labels)

    def summarise(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the metrics of some of the records."""
        import numpy as np
        return self.gauge(records)(np.ones(len(records)))

    def gauge(self, records: Sequence[Mapping[str, Any]]) -> Gauge:
        """Return the function from how often each record counts to the metrics."""
        from engine import classification
        return classification.gauge(records, self.problem)

    def shares(self, records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Return the metrics that are shares of rows: of one label a row, micro F1 is the accuracy again."""
        found = super().shares(records)
        return found | {"f1_micro": found["accuracy"]} if self.problem == "single_label" else found

    def respond(self, asked: Asked, rows: Sequence[Mapping[str, Any]]) -> list[Reply]:
        """Return label and probabilities, or a number, for each text or pair; longer texts are cut and noted."""
        from engine import verdicts

        encoded, notes = verdicts.encoded(self, asked, rows)
        found = verdicts.logits(self, asked, encoded, verdicts.padding(asked.model, asked.tokenizer))
        threshold = 0.5 if self.threshold == "auto" else self.threshold
        return [verdicts.verdict(scores, asked.labels, self.problem, note, threshold)
                for scores, note in zip(found, notes, strict=True)]

    def filled(self, reply: Reply) -> dict[str, Any]:
        """Return the columns `prediction` and `score`; a number has all the digits of fp32."""
        if reply["drawing"].get("kind") == "number":
            return {"prediction": f"{reply['drawing']['value']:.9g}"}
        return super().filled(reply)


def label_order(name: str) -> tuple[int, float, str]:
    """Return the key that sorts labels: numbers in numerical, words in alphabetical order."""
    try:
        number = float(name)
    except ValueError:
        return (1, 0.0, name)
    return (0, number, name) if math.isfinite(number) else (1, 0.0, name)


def _texts(table: pa.Table, column: str) -> list[str]:
    return [value or "" for value in cells.strings(table.column(column)).to_pylist()]
