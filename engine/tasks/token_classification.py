"""A tag for each word: names of people and places, parts of speech, spans of any kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine import spans
from engine.data import annotations
from engine.data import tags as tag_columns
from engine.data.compute import pc
from engine.findings import Finding
from engine.knobs import knob
from engine.tasks.base import Task
from engine.tasks.terms import Asked, Batches, ColumnRole, Encoded, Outputs, Reply, TaskCard

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
    answers: ClassVar[frozenset[str]] = frozenset({"tags"})

    windows: bool = knob(True, title="Read long texts in windows", help=(
        "A text longer than max length is read in several windows that overlap. Otherwise it is cut, and the words "
        "beyond count as not found."))
    stride: int = knob(32, ge=0, le=4096, advanced=True, unit="tokens", title="Overlap of windows",
                       shown_if={"windows": True},
                       help="How much of the window before each window repeats; half a window at most.")
    constrained: bool = knob(True, advanced=True, title="Keep to the order of tags", help=(
        "The likeliest row of tags that makes sense is predicted: I-PER after B-PER or I-PER alone. Otherwise each "
        "word gets its likeliest tag, and an I- that follows nothing begins an entity."))

    @property
    def metric(self) -> str:
        """F1 over entities."""
        return "f1"

    @property
    def beyond(self) -> Literal["cut", "windows"]:
        """Read in windows unless they are turned off."""
        return "windows" if self.windows else "cut"

    # -- data ------------------------------------------------------------------------------------------------------

    def check(self, table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
        """Return what is wrong or odd about words and tags."""
        return annotations.tagging(table, columns, eval_table)

    @classmethod
    def counted(cls, labels: Collection[str]) -> set[str]:
        """Return the kinds of entities."""
        how = spans.scheme(labels)
        return {kind for label in labels if (kind := spans.parts(label, how)[1])}

    def label_names(self, table: pa.Table, columns: Mapping[str, str]) -> list[str]:
        """Return the tags: O first, then B-, I- (and E-, S-) of each type in alphabetical order."""
        lists = tag_columns.lists(table.column(columns["tags"]))
        known = set(pc.unique(lists.flatten()).drop_null().to_pylist())
        if spans.begins(known):
            strays = tag_columns.strays(lists)
            if len(strays):
                known = {tag for row in _mended(lists, known) for tag in row}
        return sorted(known, key=_order)

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
        """Tokenise the words; a long text gives several windows, each an example.

        A window has `row` (of the table) and `words`: the word that each token is the first of, -1 for other tokens and
        for words that another window tells. Such a first token has the word's tag as its label, all others -100. Raises
        NoOffsets.
        """
        import numpy as np

        from engine import words

        words.require_offsets(tokenizer)
        made = [words.sentence(row) for row in _lists(table, columns["tokens"])]
        known = columns.get("tags") in table.column_names
        given = _mended(tag_columns.lists(table.column(columns["tags"])), labels) if known else [[] for _ in made]
        rows, cut = words.windows(tokenizer, [text for text, _ in made], [owner for _, owner in made], max_length,
                                  self.stride if self.windows else None)
        number = {label: i for i, label in enumerate(labels)}
        for window in rows:
            own = np.array([*(number.get(tag, -100) for tag in given[window["row"]]), -100], dtype=np.int32)
            window["labels"] = own[np.where(window["words"] < len(own), window["words"], -1)]
        return Encoded(rows=rows, truncated=cut, labels=list(labels))

    def targets(self, row: Mapping[str, Any]) -> int:
        """Every word that is told counts once."""
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
        """Return entity scores over whole texts and one record a row, worst first; words not read are not found."""
        from engine import entity_scores

        texts = _lists(table, columns["tokens"])
        expected = _mended(tag_columns.lists(table.column(columns["tags"])), labels)
        predicted, losses = self._predicted(model, encoded, [len(row) for row in texts], labels, batches)
        how = spans.scheme(labels)
        records = [_record(i, row, expected[i], predicted[i], how) for i, row in enumerate(texts)]
        for record, (loss, count) in zip(records, losses, strict=True):
            record["loss"] = round(loss / max(1, count), 6)
            record["counts"] |= {"loss": loss, "terms": count}
        total = entity_scores.added(_tallies(record["counts"]) for record in records)
        charts = {"by_type": entity_scores.by_type(total),
                  "confusion": entity_scores.confusion(zip(expected, predicted, strict=True), how)}
        return Outputs(metrics=self.summarise(records), examples=sorted(records, key=lambda item: -item["loss"]),
                       charts=charts)

    def _predicted(self, model: PreTrainedModel, encoded: Encoded, sizes: Sequence[int], labels: Sequence[str],
                   batches: Batches) -> tuple[list[list[str]], list[list[float]]]:
        """Return the tags of texts of so many words, and the summed loss of each with the words it is summed over."""
        from engine import tagging

        predicted = [[spans.OUTSIDE] * size for size in sizes]
        losses, pieces = [[0.0, 0] for _ in sizes], [list[tagging.Piece]() for _ in sizes]
        awaited = Counter(window["row"] for window in encoded.rows)
        allowed = spans.following(labels) if self.constrained else None
        for chosen, batch in batches:
            logits = self.logits(model, batch)
            lost = self.losses(logits, batch["labels"]).double().cpu().tolist()
            best = logits.float().log_softmax(-1) if self.constrained else logits.argmax(-1)
            for i, values, loss in zip(chosen, best.cpu().numpy(), lost, strict=True):
                window = encoded.rows[i]
                row = window["row"]
                losses[row] = [losses[row][0] + loss, losses[row][1] + self.targets(window)]
                pieces[row].append(tagging.told(window, values))
                awaited[row] -= 1
                if not awaited[row]:
                    # What is known of a text's words is given up once its tags are: it may be much.
                    predicted[row] = tagging.decoded(sizes[row], pieces[row], labels, allowed)
                    pieces[row] = []
        return predicted, losses

    def summarise(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return entity F1 over all entities and as the mean over types, accuracy over words, and the mean loss."""
        from engine import entity_scores

        counts = Counter[str]()
        for record in records:
            counts.update(record["counts"])
        tallies = _tallies(counts)
        over_all = [sum(own[place] for own in tallies.values()) for place in range(3)]
        found = entity_scores.figures(over_all[0], over_all[1], over_all[2])
        each = [entity_scores.figures(*own)["f1"] for own in tallies.values() if any(own)]
        found |= {"f1_macro": entity_scores.share(sum(each), len(each)),
                  "accuracy": entity_scores.share(counts["right"], counts["words"])}
        return found | ({"loss": counts["loss"] / counts["terms"]} if counts["terms"] else {})

    def shares(self, records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Return no metrics: accuracy is one of words, and those of a row are not drawn apart."""
        return {}

    # -- asking ----------------------------------------------------------------------------------------------------

    def respond(self, asked: Asked, rows: Sequence[Mapping[str, Any]]) -> list[Reply]:
        """Return the entities in each row's `tokens`, a text as it was typed or a list of words, marked in the text."""
        from engine import tagging
        return tagging.replies(self, asked, rows)

    def filled(self, reply: Reply) -> dict[str, Any]:
        """Return the columns `entities`, `words` and `tags`, each a JSON list."""
        from engine import tagging
        return tagging.columns(reply)


#: What the counts of a record call the parts of a tally.
_PARTS = ("tp", "fp", "fn")


def _record(row: int, text: Sequence[str], expected: Sequence[str], predicted: Sequence[str],
            how: spans.Scheme) -> dict[str, Any]:
    from engine import entity_scores, tagging

    counts: dict[str, float] = {"words": len(text),
                                "right": sum(a == b for a, b in zip(expected, predicted, strict=True))}
    for kind, own in entity_scores.tally(expected, predicted, how).items():
        counts |= {f"{part} {kind}": count for part, count in zip(_PARTS, own, strict=True) if count}
    return {"row": row, "input": " ".join(text)[:2000], "expected": tagging.shown(text, expected, how),
            "predicted": tagging.shown(text, predicted, how), "correct": expected == predicted, "counts": counts}


def _tallies(counts: Mapping[str, float]) -> dict[str, list[int]]:
    """Return the tally of each type out of counts by name: `tp PER`."""
    found: dict[str, list[Any]] = {}
    for name, count in counts.items():
        part, _, kind = name.partition(" ")
        if kind and part in _PARTS:
            found.setdefault(kind, [0, 0, 0])[_PARTS.index(part)] = count
    return found


def _lists(table: pa.Table, column: str) -> list[list[str]]:
    return [[item or "" for item in row or []] for row in tag_columns.lists(table.column(column)).to_pylist()]


def _mended(lists: pa.ListArray, labels: Iterable[str]) -> list[list[str]]:
    """Return rows of tags; where `labels` mark beginnings, an I- that begins an entity becomes B-."""
    rows = [[item or "" for item in row or []] for row in lists.to_pylist()]
    if spans.begins(labels):
        for row in tag_columns.strays(lists).tolist():
            rows[row] = spans.repaired(rows[row])
    return rows


def _order(tag: str) -> tuple[bool, str, int]:
    mark, _, kind = tag.partition("-")
    return (tag != spans.OUTSIDE, kind, "BIES".find(mark)) if kind else (tag != spans.OUTSIDE, tag, -1)
