"""A tag for each word: names of people and places, parts of speech, spans of any kind."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.data import annotations, cells
from engine.findings import Finding
from engine.tasks.base import Batches, ColumnRole, Encoded, Outputs, Task, TaskCard

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: The tag of a word that belongs to nothing.
OUTSIDE = "O"


class TokenClassification(Task):
    """Marks words: each gets a tag, and tags such as B-PER, I-PER join words to entities."""

    name: Literal["token_classification"] = "token_classification"
    card: ClassVar[TaskCard] = TaskCard(
        title="Tagging words", order=30,
        summary="Find names, places, amounts or parts of speech: a tag for each word of a text.")
    roles: ClassVar[tuple[ColumnRole, ...]] = (
        ColumnRole("tokens", "Words", "The words of each text, as a list.", kind="words"),
        ColumnRole("tags", "Tags", "A tag for each word, as a list: B-PER, I-PER, O."))
    needs: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"tokens", "tags"}),)
    families: ClassVar[tuple[str, ...]] = ("encoder",)
    playground: ClassVar[str] = ""
    answers: ClassVar[frozenset[str]] = frozenset({"tags"})

    @property
    def metric(self) -> str:
        """F1 over entities."""
        return "f1"

    # -- data ------------------------------------------------------------------------------------------------------

    def check(self, table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
        """Return what is wrong or odd about words and tags."""
        return annotations.tagging(table, columns, eval_table)

    def label_names(self, table: pa.Table, columns: Mapping[str, str]) -> list[str]:
        """Return the tags: O first, then B-, I- (and E-, S-) of each type in alphabetical order."""
        return sorted({tag for row in _lists(table, columns["tags"]) for tag in row}, key=_order)

    def texts(self, table: pa.Table, columns: Mapping[str, str]) -> Iterator[str]:
        """Yield the words of each row, blanks between them."""
        yield from (" ".join(row) for row in _lists(table, columns["tokens"]))

    # -- model -----------------------------------------------------------------------------------------------------

    def auto_class(self) -> Any:
        """Return AutoModelForTokenClassification."""
        from transformers import AutoModelForTokenClassification
        return AutoModelForTokenClassification

    def config(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the tags in transformers' words."""
        return {"num_labels": len(labels), "id2label": dict(enumerate(labels)),
                "label2id": {label: i for i, label in enumerate(labels)}}

    def encode(self, table: pa.Table, columns: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, max_length: int,
               labels: Sequence[str]) -> Encoded:
        """Tokenise the words; the first token of each has the word's tag as its label, all others -100.

        `words` of a row tells the word that each token is the first of, -1 for the others. Raises NoOffsets.
        """
        import numpy as np

        from engine import words

        words.require_offsets(tokenizer)
        texts, owners = zip(*map(words.sentence, _lists(table, columns["tokens"])), strict=True)
        known = columns.get("tags") in table.column_names
        tags = _lists(table, columns["tags"]) if known else [[] for _ in texts]
        options: dict[str, Any] = {"return_attention_mask": False, "return_offsets_mapping": True, "verbose": False}
        found = tokenizer(list(texts), **options)
        truncated = sum(len(ids) > max_length for ids in found["input_ids"])
        if truncated:
            found = tokenizer(list(texts), truncation=True, max_length=max_length, **options)
        names = [name for name in ("input_ids", "token_type_ids") if name in found]
        number = {label: i for i, label in enumerate(labels)}
        rows: list[dict[str, Any]] = []
        for i, owner in enumerate(owners):
            first = words.first_tokens(found["offset_mapping"][i], owner)
            own = np.array([*(number.get(tag, -100) for tag in tags[i]), -100], dtype=np.int32)
            targets = own[np.where(first < len(own), first, -1)]
            rows.append({name: np.asarray(found[name][i], dtype=np.int32) for name in names}
                        | {"labels": targets, "words": first})
        return Encoded(rows=rows, truncated=truncated, labels=list(labels))

    def targets(self, row: Mapping[str, Any]) -> int:
        """Every word that can be seen counts once."""
        return int((row["labels"] != -100).sum())

    def collate(self, rows: Sequence[Mapping[str, Any]], pad_id: int, *, packed: bool = False) -> dict[str, Any]:
        """Add `labels`, (batch, longest), to the tensors of the batch."""
        import numpy as np
        import torch

        labels = np.full((len(rows), max(len(row["labels"]) for row in rows)), -100, dtype=np.int64)
        for i, row in enumerate(rows):
            labels[i, :len(row["labels"])] = row["labels"]
        return super().collate(rows, pad_id, packed=packed) | {"labels": torch.from_numpy(labels)}

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the cross entropy summed over the first tokens of words."""
        return self.losses(self.logits(model, batch), batch["labels"]).sum()

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row's words, (batch); `logits` (batch, longest, labels)."""
        from torch.nn import functional as F
        return F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none", ignore_index=-100).sum(-1)

    def probe(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the outputs of the words, 0 elsewhere."""
        return self.logits(model, batch) * (batch["labels"] != -100).unsqueeze(-1)

    def logits(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the model's outputs, (batch, longest, labels)."""
        from engine.attention import set_layout

        set_layout(batch.get("layout"))
        return model(**self.inputs(model, batch)).logits

    def evaluate(self, model: PreTrainedModel, encoded: Encoded, table: pa.Table, columns: Mapping[str, str],
                 labels: Sequence[str], batches: Batches) -> Outputs:
        """Return entity scores over all words and one record a row, worst first; words cut off count as not found."""
        import torch

        from engine import spans

        texts, expected = _lists(table, columns["tokens"]), _lists(table, columns["tags"])
        predicted = [[OUTSIDE] * len(row) for row in texts]
        losses = torch.zeros(len(encoded.rows), dtype=torch.float64)
        for chosen, batch in batches:
            logits = self.logits(model, batch)
            losses[chosen] = self.losses(logits, batch["labels"]).double().cpu()
            for i, best in zip(chosen, logits.argmax(-1).cpu().numpy(), strict=True):
                first = encoded.rows[i]["words"]
                for place in (first >= 0).nonzero()[0]:
                    predicted[i][first[place]] = labels[best[place]]
        counts = torch.tensor([self.targets(row) for row in encoded.rows])
        loss = float(losses.sum() / counts.sum()) if counts.sum() else math.nan
        means = (losses / counts.clamp(min=1)).tolist()
        marked = spans.prefixed(labels)
        records = [{"row": i, "input": " ".join(row)[:2000], "expected": _shown(row, expected[i], marked),
                    "predicted": _shown(row, predicted[i], marked), "loss": round(means[i], 6),
                    "correct": expected[i] == predicted[i]} for i, row in enumerate(texts)]
        return Outputs(metrics=spans.scores(expected, predicted) | {"loss": loss},
                       examples=sorted(records, key=lambda item: -item["loss"]))


def _lists(table: pa.Table, column: str) -> list[list[str]]:
    return [["" if item is None else str(item) for item in row or []]
            for row in cells.whole(table.column(column)).to_pylist()]


def _order(tag: str) -> tuple[bool, str, int]:
    mark, _, kind = tag.partition("-")
    return (tag != OUTSIDE, kind, "BIES".find(mark)) if kind else (tag != OUTSIDE, tag, -1)


def _shown(words: Sequence[str], tags: Sequence[str], marked: bool) -> str:
    """Return the entities as text: `Tim Berners-Lee [PER], London [LOC]`."""
    from engine import spans

    return ", ".join(f"{' '.join(words[first:last + 1])} [{kind}]"
                     for kind, first, last in spans.entities(tags, marked))[:2000]
