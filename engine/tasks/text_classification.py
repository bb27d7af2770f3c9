"""One label, several labels or a number for each text or pair of texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.data import cells, validate
from engine.findings import Finding
from engine.knobs import knob
from engine.tasks.base import Batches, ColumnRole, Encoded, Outputs, Task, TaskCard

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Problem = Literal["single_label", "multi_label", "regression"]


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

    problem: Problem = knob("single_label", title="Kind of label", help=(
        "One class a text (single_label), any number of classes a text (multi_label), or a number (regression)."))
    separator: str = knob("auto", advanced=True, title="Label separator", shown_if={"problem": "multi_label"},
                          help="What stands between several labels in one cell; auto finds | ; or ,")

    @property
    def metric(self) -> str:
        """Accuracy for one label, micro F1 for several, Pearson's r for numbers."""
        return {"single_label": "accuracy", "multi_label": "f1_micro", "regression": "pearson"}[self.problem]

    # -- data ------------------------------------------------------------------------------------------------------

    def check(self, table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
        """Return what is wrong or odd about texts and labels."""
        return validate.classification(table, columns, self.problem, eval_table=eval_table, separator=self.separator)

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
        """Tokenise text (and second text), and turn labels into targets.

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

    def label_tensor(self, rows: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Return the targets of a batch: class numbers (batch), 0/1 (batch, labels), or numbers (batch)."""
        import torch

        kind = torch.long if self.problem == "single_label" else torch.float32
        return torch.tensor([row["labels"] for row in rows], dtype=kind)

    def collate(self, rows: Sequence[Mapping[str, Any]], pad_id: int, *, packed: bool = False) -> dict[str, Any]:
        """Add `labels` to the tensors of the batch."""
        return super().collate(rows, pad_id, packed=packed) | {"labels": self.label_tensor(rows)}

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the cross entropy, binary cross entropy (mean over labels) or squared error, summed over examples."""
        return self.losses(self.logits(model, batch), batch["labels"]).sum()

    def probe(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the outputs."""
        return self.logits(model, batch)

    def logits(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the model's outputs, (batch, outputs)."""
        from engine.attention import set_layout

        set_layout(batch.get("layout"))
        return model(**{name: value for name, value in batch.items() if name not in ("labels", "layout")}).logits

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return one loss an example; `logits` (batch, outputs)."""
        from torch.nn import functional as F
        logits = logits.float()
        if self.problem == "regression":
            return (logits.squeeze(-1) - labels) ** 2
        if self.problem == "multi_label":
            return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(-1)
        return F.cross_entropy(logits, labels, reduction="none", ignore_index=-100)

    def evaluate(self, model: PreTrainedModel, encoded: Encoded, table: pa.Table, columns: Mapping[str, str],
                 labels: Sequence[str], batches: Batches) -> Outputs:
        """Return the metrics of the problem and one record a row, worst first."""
        import torch
        rows = len(encoded.rows)
        logits = torch.zeros(rows, max(1, len(labels)))
        losses = torch.zeros(rows)
        for chosen, batch in batches:
            found = self.logits(model, batch).float()
            losses[chosen] = self.losses(found, batch["labels"]).cpu()
            logits[chosen] = found.cpu()
        targets = self.label_tensor(encoded.rows)
        metrics = self._metrics(logits, targets) | {"loss": _mean_known(losses, targets, self.problem)}
        records = self._records(logits, targets, losses, table, columns, labels)
        return Outputs(metrics=metrics, examples=sorted(records, key=lambda item: -(item["loss"] or 0.0)))

    def _metrics(self, logits: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        if self.problem == "regression":
            return _regression(logits.squeeze(-1).numpy(), targets.numpy())
        if self.problem == "multi_label":
            return _multi_label((logits > 0).int().numpy(), targets.int().numpy())
        return single_label(logits.argmax(-1).numpy(), targets.numpy())

    def _records(self, logits: torch.Tensor, targets: torch.Tensor, losses: torch.Tensor, table: pa.Table,
                 columns: Mapping[str, str], labels: Sequence[str]) -> Iterator[dict[str, Any]]:
        expected = cells.strings(table.column(columns["label"])).to_pylist()
        probabilities = logits.softmax(-1) if self.problem == "single_label" else logits.sigmoid()
        for i, text in enumerate(self.texts(table, columns)):
            record: dict[str, Any] = {"row": i, "input": text[:2000], "loss": round(float(losses[i]), 6)}
            if self.problem == "regression":
                record |= {"expected": float(targets[i]), "predicted": round(float(logits[i, 0]), 4), "correct": None}
            elif self.problem == "multi_label":
                chosen = [label for label, value in zip(labels, logits[i], strict=True) if value > 0]
                wanted = [label for label, value in zip(labels, targets[i], strict=True) if value > 0]
                record |= {"expected": wanted, "predicted": chosen, "correct": chosen == wanted}
            else:
                best = int(probabilities[i].argmax())
                record |= {"expected": expected[i], "predicted": labels[best],
                           "confidence": round(float(probabilities[i, best]), 4), "correct": best == int(targets[i])}
            yield record


def label_order(name: str) -> tuple[int, float, str]:
    """Return the key that sorts labels: numbers in numerical, words in alphabetical order."""
    try:
        number = float(name)
    except ValueError:
        return (1, 0.0, name)
    return (0, number, name) if math.isfinite(number) else (1, 0.0, name)


def _texts(table: pa.Table, column: str) -> list[str]:
    return [value or "" for value in cells.strings(table.column(column)).to_pylist()]


def _mean_known(losses: torch.Tensor, targets: torch.Tensor, problem: str) -> float:
    """Return the mean loss over the rows whose label is known; not a number when there are none."""
    known = losses[targets != -100] if problem == "single_label" else losses
    return float(known.double().mean()) if len(known) else math.nan


def single_label(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return the usual metrics of one class an example; both arrays hold class numbers, (examples,)."""
    import sklearn.metrics

    metrics: Any = sklearn.metrics
    return {"accuracy": float(metrics.accuracy_score(targets, predicted)),
            "f1": float(metrics.f1_score(targets, predicted, average="macro", zero_division=0)),
            "f1_micro": float(metrics.f1_score(targets, predicted, average="micro", zero_division=0)),
            "matthews_correlation": float(metrics.matthews_corrcoef(targets, predicted))}


def _multi_label(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    import sklearn.metrics

    metrics: Any = sklearn.metrics
    return {"accuracy": float(metrics.accuracy_score(targets, predicted)),
            "f1": float(metrics.f1_score(targets, predicted, average="macro", zero_division=0)),
            "f1_micro": float(metrics.f1_score(targets, predicted, average="micro", zero_division=0))}


def _regression(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    import warnings

    import scipy.stats
    import sklearn.metrics

    metrics: Any = sklearn.metrics
    stats: Any = scipy.stats
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        enough = len(targets) > 1
        return {"mse": float(metrics.mean_squared_error(targets, predicted)),
                "mae": float(metrics.mean_absolute_error(targets, predicted)),
                "pearson": float(stats.pearsonr(targets, predicted).statistic) if enough else math.nan,
                "spearman": float(stats.spearmanr(targets, predicted).statistic) if enough else math.nan}
