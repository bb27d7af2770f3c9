"""The part of a passage that answers a question."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.data import annotations, cells, squad
from engine.findings import Finding
from engine.knobs import knob
from engine.tasks.base import Task
from engine.tasks.terms import Asked, Asking, Batches, ColumnRole, Encoded, Outputs, Reply, TaskCard

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Reading(Asking):
    """What can be chosen when a passage is asked."""

    shown: int = knob(5, ge=1, le=20, title="Answers shown", help="How many of the likeliest answers are listed.")


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
    answers: ClassVar[frozenset[str]] = frozenset({"answers"})
    asking: ClassVar[type[Asking]] = Reading

    unanswerable: bool = knob(False, title="Some questions have no answer", help=(
        "The model may say that the passage holds no answer; rows without one teach that."))
    stride: int = knob(64, ge=0, le=4096, advanced=True, unit="tokens", title="Overlap of windows", help=(
        "A passage longer than max length is read in windows; each repeats this much of the one before."))
    longest_answer: int = knob(30, ge=1, le=512, advanced=True, unit="tokens", title="Longest answer",
                               help="Longer answers are not looked for.")
    margin: Literal["auto"] | float = knob(
        "auto", advanced=True, title="Margin for no answer", shown_if={"unanswerable": True},
        help="How much likelier no answer must be than the best one (logits) to be given; auto finds what gives the "
             "highest F1 in evaluation, and keeps it with what was trained.")

    @property
    def least_margin(self) -> float:
        """The margin when it is known, 0 before."""
        return 0.0 if self.margin == "auto" else self.margin

    @property
    def metric(self) -> str:
        """F1 over the words of the answer."""
        return "f1"

    @property
    def beyond(self) -> Literal["cut", "windows"]:
        """Passages are read in windows."""
        return "windows"

    # -- data ------------------------------------------------------------------------------------------------------

    def check(self, table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
        """Return what is wrong or odd about questions, passages and answers."""
        return annotations.answering(table, columns, eval_table, unanswerable=self.unanswerable,
                                     longest=self.longest_answer)

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
        import numpy as np

        from engine import passages, words

        words.require_offsets(tokenizer)
        contexts = _texts(table, columns["context"])
        known = columns.get("answers") in table.column_names
        cell = table.column(columns["answers"]).to_pylist() if known else [None] * table.num_rows
        given = [squad.answers(value) for value in cell]
        places = [[at for answer in some if (at := squad.place(answer, context))]
                  for some, context in zip(given, contexts, strict=True)]
        questions = _texts(table, columns["question"])
        asked = passages.cut_questions(tokenizer, questions, max_length)
        rows = list(passages.windows(tokenizer, asked, contexts, max_length, self.stride))
        for window in rows:
            i = window["row"]
            found = next((at for at in places[i][:1]), None)
            lost = not known or (found is None and bool(given[i] or not self.unanswerable))
            window["labels"] = np.array([*((-100, -100) if lost else passages.tokens(window, found)),
                                         len(window["input_ids"])], dtype=np.int32)
        return Encoded(rows=rows, truncated=sum(a != b for a, b in zip(asked, questions, strict=True)))

    def targets(self, row: Mapping[str, Any]) -> int:
        """Every window counts once, but for those whose answer is not known."""
        return int(row["labels"][0] >= 0)

    def collate(self, rows: Sequence[Mapping[str, Any]], pad_id: int, *, packed: bool = False) -> dict[str, Any]:
        """Add `labels` to the tensors of the batch: first token, last token and number of tokens, (batch, 3)."""
        import numpy as np
        import torch

        labels = torch.from_numpy(np.stack([row["labels"] for row in rows]).astype(np.int64))
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
        from engine import answers, passages

        contexts = _texts(table, columns["context"])
        best, none = [passages.NOWHERE] * len(contexts), [math.inf] * len(contexts)
        sums, terms = [0.0] * len(contexts), [0] * len(contexts)
        for chosen, batch in batches:
            logits = self.logits(model, batch)
            losses = self.losses(logits, batch["labels"]).double().cpu().tolist()
            for i, scores, loss in zip(chosen, logits.cpu().numpy(), losses, strict=True):
                window = encoded.rows[i]
                row = window["row"]
                if self.targets(window):
                    sums[row] += loss
                    terms[row] += 1
                none[row] = min(none[row], passages.nothing(window, scores))
                found = passages.likeliest(scores, window["offsets"], self.longest_answer)
                best[row] = max([best[row], *found], key=lambda one: one.score)
        wanted = [[answer.text for answer in squad.answers(value)]
                  for value in table.column(columns["answers"]).to_pylist()]
        said = [context[one.start:one.end].strip() for context, one in zip(contexts, best, strict=True)]
        margins = [max(-_FAR, min(_FAR, silent - one.score)) for silent, one in zip(none, best, strict=True)]
        margin = self._margin(margins, said, wanted)
        if margin is not None:
            said = ["" if over > margin else text for over, text in zip(margins, said, strict=True)]
        records = [_record(i, text, said[i], wanted[i], sums[i], terms[i])
                   for i, text in enumerate(self.texts(table, columns))]
        tuned = {} if margin is None else {"no_answer_margin": margin}
        asking = answers.by_question(_texts(table, columns["question"]), *(
            [record["counts"][name] for record in records] for name in ("exact", "f1")))
        return Outputs(metrics=self.summarise(records) | tuned, settled={} if margin is None else {"margin": margin},
                       examples=sorted(records, key=lambda item: -item["loss"]),
                       charts={"by_question": asking} if asking else {})

    def _margin(self, margins: Sequence[float], said: Sequence[str], wanted: Sequence[Sequence[str]]) -> float | None:
        """Return the margin above which there is no answer; None when there always is one."""
        from engine import answers

        if not self.unanswerable:
            return None
        if self.margin != "auto" or len({answers.answerable(texts) for texts in wanted}) < 2:
            return self.least_margin
        spoken = [answers.f1(text, texts) for text, texts in zip(said, wanted, strict=True)]
        return answers.best_margin(margins, spoken, [answers.f1("", texts) for texts in wanted])

    def summarise(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return F1, exact match and mean loss; where only some questions have an answer also those of each kind."""
        counts = Counter[str]()
        for record in records:
            counts.update(record["counts"])
        rows, answered = counts["rows"], counts["answerable"]
        if not rows:
            return {}
        found = {"f1": counts["f1"] / rows, "exact_match": counts["exact"] / rows}
        if 0 < answered < rows:
            found |= {"has_answer_f1": counts["f1_answerable"] / answered,
                      "has_answer_exact_match": counts["exact_answerable"] / answered,
                      "no_answer_accuracy": (counts["exact"] - counts["exact_answerable"]) / (rows - answered)}
        return found | ({"loss": counts["loss"] / counts["terms"]} if counts["terms"] else {})

    def shares(self, records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Return the metrics that are shares of questions, with how many questions each is a share of."""
        answered = sum(int(record["counts"]["answerable"]) for record in records)
        return {"exact_match": len(records), "has_answer_exact_match": answered,
                "no_answer_accuracy": len(records) - answered}

    # -- asking ----------------------------------------------------------------------------------------------------

    def respond(self, asked: Asked, rows: Sequence[Mapping[str, Any]]) -> list[Reply]:
        """Return the answer to each row's `question` marked in its `context`, and the likeliest others."""
        from engine import answering
        return answering.replies(self, asked, rows)

    def filled(self, reply: Reply) -> dict[str, Any]:
        """Return the columns `answer`, `score` and `start`."""
        from engine import answering
        return answering.columns(reply)


#: Margins beyond this are all alike.
_FAR = 1e4


def _record(row: int, asked: str, said: str, wanted: Sequence[str], loss: float, terms: int) -> dict[str, Any]:
    from engine import answers

    exact, f1, there = answers.exact(said, wanted), answers.f1(said, wanted), float(answers.answerable(wanted))
    return {"row": row, "input": asked[:2000], "expected": " | ".join(dict.fromkeys(wanted)), "predicted": said,
            "loss": round(loss / max(1, terms), 6), "correct": exact == 1.0,
            "counts": {"rows": 1.0, "exact": exact, "f1": f1, "answerable": there, "f1_answerable": f1 * there,
                       "exact_answerable": exact * there, "loss": loss, "terms": terms}}


def _texts(table: pa.Table, column: str) -> list[str]:
    return [value or "" for value in cells.strings(table.column(column)).to_pylist()]
