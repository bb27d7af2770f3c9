"""The part of a passage that answers a question."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.data import annotations, cells, squad
from engine.findings import Finding
from engine.knobs import knob
from engine.tasks.base import Batches, ColumnRole, Encoded, Outputs, Task, TaskCard

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class QuestionAnswering(Task):
    """Marks the answer to a question in a passage; the answer is always a part of the passage."""

    name: Literal["question_answering"] = "question_answering"
    card: ClassVar[TaskCard] = TaskCard(
        title="Answers from a passage", order=40,
        summary="Find the words of a passage that answer a question, or say that it has no answer.")
    roles: ClassVar[tuple[ColumnRole, ...]] = (
        ColumnRole("question", "Question", "What is asked."),
        ColumnRole("context", "Passage", "The text that holds the answer."),
        ColumnRole("answers", "Answers", "Text and place of the right answers as in SQuAD, or their text alone."))
    needs: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"question", "context", "answers"}),)
    families: ClassVar[tuple[str, ...]] = ("encoder",)
    playground: ClassVar[str] = ""
    answers: ClassVar[frozenset[str]] = frozenset({"answers"})

    unanswerable: bool = knob(False, title="Some questions have no answer", help=(
        "The model may say that the passage holds no answer; rows without one teach that."))
    stride: int = knob(64, ge=0, le=4096, advanced=True, unit="tokens", title="Overlap of windows", help=(
        "A passage longer than max length is read in windows; each repeats this much of the one before."))
    longest_answer: int = knob(30, ge=1, le=512, advanced=True, unit="tokens", title="Longest answer",
                               help="Longer answers are not looked for.")

    @property
    def metric(self) -> str:
        """F1 over the words of the answer."""
        return "f1"

    # -- data ------------------------------------------------------------------------------------------------------

    def check(self, table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
        """Return what is wrong or odd about questions, passages and answers."""
        return annotations.answering(table, columns, eval_table, unanswerable=self.unanswerable)

    def texts(self, table: pa.Table, columns: Mapping[str, str]) -> Iterator[str]:
        """Yield the question, with its passage on a line of its own."""
        pairs = zip(_texts(table, columns["question"]), _texts(table, columns["context"]), strict=True)
        yield from (f"{question}\n{passage}" for question, passage in pairs)

    # -- model -----------------------------------------------------------------------------------------------------

    def auto_class(self) -> Any:
        """Return AutoModelForQuestionAnswering."""
        from transformers import AutoModelForQuestionAnswering
        return AutoModelForQuestionAnswering

    def config(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the two outputs, start and end, that a base model trained with other labels must be told."""
        return {"num_labels": 2}

    def encode(self, table: pa.Table, columns: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, max_length: int,
               labels: Sequence[str]) -> Encoded:
        """Tokenise questions with their passages; a long passage gives several windows, each an example.

        A window has `row` (of the table), `offsets` (tokens, 2; -1 outside the passage) and `labels`: first and last
        token of the answer and the number of tokens. Windows without the answer point at their first token; rows whose
        answer cannot be found have -100 and are not learned from. Only questions are cut, at half of
        `max_length`. Raises NoOffsets.
        """
        from engine import words

        words.require_offsets(tokenizer)
        passages = _texts(table, columns["context"])
        known = columns.get("answers") in table.column_names
        cell = table.column(columns["answers"]).to_pylist() if known else [None] * table.num_rows
        given = [squad.answers(value) for value in cell]
        places = [[at for answer in some if (at := squad.place(answer, passage))]
                  for some, passage in zip(given, passages, strict=True)]
        questions = _texts(table, columns["question"])
        asked = _asked(tokenizer, questions, max_length)
        rows = list(_windows(tokenizer, asked, passages, max_length, self.stride))
        for window in rows:
            i = window["row"]
            found = next((at for at in places[i][:1]), None)
            lost = not known or (found is None and bool(given[i] or not self.unanswerable))
            window["labels"] = (*((-100, -100) if lost else _tokens(window, found)), len(window["input_ids"]))
        return Encoded(rows=rows, truncated=sum(a != b for a, b in zip(asked, questions, strict=True)))

    def targets(self, row: Mapping[str, Any]) -> int:
        """Every window counts once, but for those whose answer is not known."""
        return int(row["labels"][0] >= 0)

    def collate(self, rows: Sequence[Mapping[str, Any]], pad_id: int, *, packed: bool = False) -> dict[str, Any]:
        """Add `labels` to the tensors of the batch: first token, last token and number of tokens, (batch, 3)."""
        import torch

        labels = torch.tensor([row["labels"] for row in rows], dtype=torch.long)
        return super().collate(rows, pad_id, packed=packed) | {"labels": labels}

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the mean cross entropy of first and last token, summed over windows."""
        return self.losses(self.logits(model, batch), batch["labels"]).sum()

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return one loss a window; `logits` (batch, longest, 2)."""
        from torch.nn import functional as F

        return F.cross_entropy(logits, labels[:, :2], reduction="none", ignore_index=-100).mean(-1)

    def probe(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the outputs, 0 beyond the end of each window."""
        logits = self.logits(model, batch)
        return logits.masked_fill(logits.isinf(), 0.0)

    def logits(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the scores of each token as the first and as the last of the answer, (batch, longest, 2).

        Beyond the end of a window they are minus infinity, so that what fills up a batch changes nothing.
        """
        import torch

        from engine.attention import set_layout

        set_layout(batch.get("layout"))
        found = model(**self.inputs(model, batch))
        logits = torch.stack([found.start_logits, found.end_logits], dim=-1).float()
        beyond = torch.arange(logits.shape[1], device=logits.device) >= batch["labels"][:, 2:]
        return logits.masked_fill(beyond.unsqueeze(-1), -math.inf)

    def evaluate(self, model: PreTrainedModel, encoded: Encoded, table: pa.Table, columns: Mapping[str, str],
                 labels: Sequence[str], batches: Batches) -> Outputs:
        """Return exact match and F1 as the official script counts them, and one record a row, worst first."""
        import torch

        from engine import answers

        losses = torch.zeros(len(encoded.rows), dtype=torch.float64)
        best: dict[int, tuple[float, int, int]] = {}
        none: dict[int, float] = {}
        for chosen, batch in batches:
            logits = self.logits(model, batch)
            losses[chosen] = self.losses(logits, batch["labels"]).double().cpu()
            for i, scores in zip(chosen, logits.cpu().numpy(), strict=True):
                window = encoded.rows[i]
                row, at = window["row"], window["start"]
                none[row] = min(none.get(row, math.inf), float(scores[at].sum()))
                best[row] = max(best.get(row, (-math.inf, 0, 0)), _best(scores, window["offsets"], self.longest_answer))
        texts, passages = list(self.texts(table, columns)), _texts(table, columns["context"])
        wanted = [[answer.text for answer in squad.answers(value)]
                  for value in table.column(columns["answers"]).to_pylist()]
        sums, counts = _by_row(encoded.rows, losses.tolist(), len(texts))
        records = []
        for i, passage in enumerate(passages):
            score, start, end = best.get(i, (-math.inf, 0, 0))
            answer = "" if self.unanswerable and none.get(i, 0.0) >= score else passage[start:end].strip()
            records.append({"row": i, "input": texts[i][:2000], "expected": " | ".join(dict.fromkeys(wanted[i])),
                            "predicted": answer, "loss": round(sums[i] / max(1, counts[i]), 6),
                            "correct": answers.exact(answer, wanted[i]) == 1.0})
        total = sum(counts)
        metrics = {"f1": _mean([answers.f1(r["predicted"], wanted[r["row"]]) for r in records]),
                   "exact_match": _mean([float(r["correct"]) for r in records]),
                   "loss": sum(sums) / total if total else math.nan}
        return Outputs(metrics=metrics, examples=sorted(records, key=lambda item: -item["loss"]))


def _texts(table: pa.Table, column: str) -> list[str]:
    return [value or "" for value in cells.strings(table.column(column)).to_pylist()]


def _room(tokenizer: Any, max_length: int) -> int:
    """Return the tokens of a window that questions and passages may take."""
    return max(2, max_length - tokenizer.num_special_tokens_to_add(pair=True))


def _asked(tokenizer: Any, questions: Sequence[str], max_length: int) -> list[str]:
    """Return the questions, cut where they would take more than half of a window."""
    half = _room(tokenizer, max_length) // 2
    spans = tokenizer(list(questions), add_special_tokens=False, return_offsets_mapping=True,
                      verbose=False)["offset_mapping"]
    return [question if len(own) <= half else question[:own[half - 1][1]]
            for question, own in zip(questions, spans, strict=True)]


def _windows(tokenizer: Any, asked: Sequence[str], passages: Sequence[str], max_length: int,
             stride: int) -> Iterator[dict[str, Any]]:
    """Yield the windows of each passage, behind its question."""
    import numpy as np

    # What is repeated must be less than what a window holds beside the longest question.
    stride = min(stride, _room(tokenizer, max_length) // 4)
    found = tokenizer(list(asked), list(passages), truncation="only_second", max_length=max_length, stride=stride,
                      return_overflowing_tokens=True, return_offsets_mapping=True, return_attention_mask=False)
    names = [name for name in ("input_ids", "token_type_ids") if name in found]
    for i, row in enumerate(found["overflow_to_sample_mapping"]):
        ids = np.asarray(found["input_ids"][i], dtype=np.int32)
        offsets = np.asarray(found["offset_mapping"][i], dtype=np.int32).reshape(-1, 2)
        offsets[np.array([part != 1 for part in found.sequence_ids(i)])] = -1
        marked = ids == (-1 if tokenizer.cls_token_id is None else tokenizer.cls_token_id)
        yield {name: np.asarray(found[name][i], dtype=np.int32) for name in names} | {
            "row": row, "offsets": offsets, "start": int(marked.argmax())}


def _tokens(window: Mapping[str, Any], answer: tuple[int, int] | None) -> tuple[int, int]:
    """Return the first and last token of an answer's characters; the window's own start when it lies outside."""
    offsets: np.ndarray = window["offsets"]
    inside = (offsets[:, 0] >= 0).nonzero()[0]
    none = window["start"], window["start"]
    if answer is None or not len(inside) or answer[0] < offsets[inside[0], 0] or answer[1] > offsets[inside[-1], 1]:
        return none
    touched = inside[(offsets[inside, 1] > answer[0]) & (offsets[inside, 0] < answer[1])]
    return (int(touched[0]), int(touched[-1])) if len(touched) else none


def _best(scores: np.ndarray, offsets: np.ndarray, longest: int) -> tuple[float, int, int]:
    """Return the best answer's score and its characters in the passage; `scores` (longest, 2) of one window."""
    import numpy as np

    inside = np.flatnonzero(offsets[:, 0] >= 0)
    if not len(inside):
        return -math.inf, 0, 0
    start, end = scores[inside, 0], scores[inside, 1]
    sums = start[:, None] + end[None, :]
    gap = np.arange(len(inside))[None, :] - np.arange(len(inside))[:, None]
    sums[(gap < 0) | (gap >= longest)] = -math.inf
    first, last = np.unravel_index(int(sums.argmax()), sums.shape)
    return float(sums[first, last]), int(offsets[inside[first], 0]), int(offsets[inside[last], 1])


def _by_row(windows: Sequence[Mapping[str, Any]], losses: Sequence[float], rows: int) -> tuple[list[float], list[int]]:
    """Return the summed loss and the number of learnable windows of each row of the table."""
    sums, counts = [0.0] * rows, [0] * rows
    for window, loss in zip(windows, losses, strict=True):
        if window["labels"][0] >= 0:
            sums[window["row"]] += loss
            counts[window["row"]] += 1
    return sums, counts


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
