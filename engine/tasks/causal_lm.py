"""A language model that continues text: conversations, prompts with answers, or plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from engine import chat
from engine.data import validate
from engine.findings import Finding
from engine.generate import Sampling
from engine.generation import pattern as patterns
from engine.generation import questions, scores, speaking, templates
from engine.knobs import knob
from engine.tasks.base import Task, tensors
from engine.tasks.terms import Asked, Asking, Batches, ColumnRole, Encoded, Outputs, Reply, TaskCard

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class CausalLM(Task):
    """Teaches a chat or text model to answer the way the examples do."""

    name: Literal["causal_lm"] = "causal_lm"
    card: ClassVar[TaskCard] = TaskCard(
        title="Chat and text generation", order=20,
        summary="Teach a language model to answer, follow a format or write in a style, from conversations or text.")
    roles: ClassVar[tuple[ColumnRole, ...]] = (
        ColumnRole("messages", "Conversation", "A list of messages, each with a role and its content."),
        ColumnRole("prompt", "Prompt", "What the model is given.", alike=("source",)),
        ColumnRole("completion", "Completion", "What the model should answer.", alike=("target",)),
        ColumnRole("text", "Text", "Plain text to learn as it is."),
        ColumnRole("system", "System message", "Instructions placed before the conversation or prompt."))
    needs: ClassVar[tuple[frozenset[str], ...]] = (
        frozenset({"messages"}), frozenset({"prompt", "completion"}), frozenset({"text"}))
    families: ClassVar[tuple[str, ...]] = ("decoder",)
    playground: ClassVar[str] = "chat"
    answers: ClassVar[frozenset[str]] = frozenset({"completion"})
    asking: ClassVar[type[Asking]] = Sampling
    rows_for_the_head: ClassVar[bool] = False

    learn_from: Literal["completions", "everything"] = knob(
        "completions", title="Learn from", help="Answers alone, or prompts too. Plain text is always learned whole.")
    packing: bool = knob(True, advanced=True, help=(
        "Lay examples end to end without padding. They never see each other, so results do not change."))

    template: Literal["auto", "chatml", "alpaca", "dialogue", "plain"] | str = knob(
        "auto", title="Chat template", max_length=20_000, words={"chatml": "ChatML"}, help=(
            "How a conversation becomes text. Auto takes the model's own; chatml, alpaca, dialogue and plain are "
            "ready; or write one in Jinja, with `messages`. It is saved with the adapter."))
    samples: int = knob(3, ge=0, le=20, advanced=True, title="Samples", help=(
        "Prompts of the evaluation rows that the model answers at every evaluation, to see it change."))
    written: int = knob(0, ge=0, le=100_000, advanced=True, title="Answers written", help=(
        "Evaluation rows, spread evenly, that are answered and compared with what is expected: exact match, ROUGE, "
        "BLEU, chrF. Writing is slow; 0 for none."))
    max_new_tokens: int = knob(128, ge=1, le=8192, scale="log2", advanced=True, unit="tokens", title="Longest answer",
                               help="Answers written for evaluation end here at the latest.")
    pattern: str = knob("", max_length=1000, advanced=True, title="Answer pattern", help=(
        "A regular expression (RE2) for what counts in an answer, such as #### (.+) for its last line: what the last "
        "match says must be what is expected, as a number where it is one."))

    @field_validator("template")
    @classmethod
    def _is_a_template(cls, value: str) -> str:
        templates.check(value)
        return value

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        if value:
            patterns.check(value)
        return value

    @property
    def metric(self) -> str:
        """Mean loss of a target token."""
        return "loss"

    # -- data ------------------------------------------------------------------------------------------------------

    def check(self, table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
        """Return what is wrong or odd about conversations, prompts or texts."""
        found = validate.language(table, columns, eval_table=eval_table)
        if not self.pattern or any(item.level == "error" for item in found):
            return found
        return found + speaking.without_pattern(self.conversations(table, columns), self.pattern, columns)

    def conversations(self, table: pa.Table, columns: Mapping[str, str]) -> Iterator[list[dict[str, str]]]:
        """Yield each row as messages; a plain text is one message of the assistant."""
        systems = table.column(columns["system"]).to_pylist() if "system" in columns else [None] * table.num_rows
        if "messages" in columns:
            rows: Any = (chat.messages(value) for value in table.column(columns["messages"]).to_pylist())
        elif "prompt" in columns:
            prompts, answers = (table.column(columns[role]).to_pylist() for role in ("prompt", "completion"))
            rows = (chat.exchange(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True))
        else:
            rows = (chat.exchange(None, text) for text in table.column(columns["text"]).to_pylist())
        for system, row in zip(systems, rows, strict=True):
            lacks = bool(system) and (not row or row[0]["role"] != "system")
            yield [{"role": "system", "content": str(system)}, *row] if lacks else row

    def texts(self, table: pa.Table, columns: Mapping[str, str]) -> Iterator[str]:
        """Yield the contents of each row's messages, one below the other."""
        for row in self.conversations(table, columns):
            yield "\n".join(message["content"] for message in row)

    # -- model -----------------------------------------------------------------------------------------------------

    def auto_class(self) -> Any:
        """Return AutoModelForCausalLM."""
        from transformers import AutoModelForCausalLM
        return AutoModelForCausalLM

    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase, columns: Mapping[str, str]) -> str:
        """Give the tokenizer the chat template chosen, or one that fits the data; it is saved with the adapter."""
        form = "messages" if "messages" in columns else "prompt" if "prompt" in columns else "text"
        return templates.choose(tokenizer, self.template, form)

    def encode(self, table: pa.Table, columns: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, max_length: int,
               labels: Sequence[str]) -> Encoded:
        """Render and tokenise every row; `labels` are the ids to be learned and -100 elsewhere.

        Rows are cut at `max_length`; one whose answers were cut off entirely has no target left.
        """
        plain = "messages" not in columns and "prompt" not in columns
        start = chat.begin_mark(tokenizer)
        rows = self.conversations(table, columns)
        rendered = [chat.as_text(row, tokenizer, start) for row in rows] if plain else chat.rendered(rows, tokenizer)
        everything = self.learn_from == "everything"
        made, truncated = [], 0
        for ids, learned in chat.tokenize(rendered, tokenizer):
            targets = ids.copy()
            if not everything:
                targets[~learned] = -100
            truncated += len(ids) > max_length
            made.append({"input_ids": ids[:max_length], "labels": targets[:max_length]})
        return Encoded(rows=made, truncated=truncated, tokenizer=tokenizer)

    def targets(self, row: Mapping[str, Any]) -> int:
        """Every token to be learned counts once; the first token of a row has nothing to be predicted from."""
        return int((row["labels"][1:] != -100).sum())

    def collate(self, rows: Sequence[Mapping[str, Any]], pad_id: int, *, packed: bool = False) -> dict[str, Any]:
        """Add `targets`, the token each position is to predict, -100 where there is none."""
        import numpy as np

        shifted = [{**row, "targets": np.append(row["labels"][1:], -100)} for row in rows]
        return tensors(shifted, {"input_ids": pad_id, "targets": -100}, packed=packed)

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the cross entropy summed over the target tokens."""
        from engine import heads
        from engine.attention import set_layout

        parts = getattr(model, "studio_head", None)
        if parts is None:
            return self.token_losses(model, batch)[0].sum()
        targets = batch["targets"].reshape(-1)
        places = (targets != -100).nonzero().squeeze(-1)
        set_layout(batch.get("layout"), batch["targets"] != -100)
        inputs = {name: value for name, value in batch.items() if name not in ("targets", "layout")}
        return heads.summed_loss(parts, inputs, places, targets[places])

    def prepare_model(self, model: torch.nn.Module, batch: dict[str, Any]) -> None:
        """Compute the loss without keeping scores, if that gives the loss the model's own scores give."""
        import torch

        from engine import heads

        model.studio_head = None  # type: ignore[assignment]
        with torch.inference_mode():
            usual = float(self.loss(model, batch))
            parts = heads.parts_of(model)
            model.studio_head = parts  # type: ignore[assignment]
            if parts is not None and abs(float(self.loss(model, batch)) - usual) > 1e-3 * abs(usual):
                model.studio_head = None  # type: ignore[assignment]

    def probe(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the mean loss of each row."""
        import torch

        losses, places = self.token_losses(model, batch)
        rows = _rows(batch)[places.cpu()]
        sums = torch.zeros(int(rows.max()) + 1).index_add_(0, rows, losses.float().cpu())
        return sums / torch.bincount(rows).clamp(min=1)

    def token_losses(self, model: torch.nn.Module, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of each target token and its place in the flattened batch, both (targets,)."""
        import torch
        from torch.nn import functional as F

        from engine import heads
        from engine.attention import set_layout
        targets = batch["targets"].reshape(-1)
        places = (targets != -100).nonzero().squeeze(-1)
        inputs = {name: value for name, value in batch.items() if name not in ("targets", "layout")}
        set_layout(batch.get("layout"), batch["targets"] != -100)
        parts = getattr(model, "studio_head", None)
        if parts is not None and not torch.is_grad_enabled():
            return heads.losses(parts, inputs, places, targets[places]), places
        if "layout" in batch:
            logits = model(**inputs, use_cache=False, logits_to_keep=places).logits[0]
        else:
            logits = model(**inputs, use_cache=False).logits.flatten(0, 1)[places]
        return F.cross_entropy(logits.float(), targets[places], reduction="none"), places

    def evaluate(self, model: PreTrainedModel, encoded: Encoded, table: pa.Table, columns: Mapping[str, str],
                 labels: Sequence[str], batches: Batches) -> Outputs:
        """Return loss, perplexity and scores of written answers where asked for, and one record a row, worst first."""
        import torch
        sums = torch.zeros(len(encoded.rows), dtype=torch.float64)
        for chosen, batch in batches:
            losses, places = self.token_losses(model, batch)
            owner = torch.tensor(chosen)[_rows(batch)[places.cpu()]]
            sums.index_add_(0, owner, losses.double().cpu())
        counts = [self.targets(row) for row in encoded.rows]
        records = self._records(table, columns, sums.tolist(), counts)
        if self.written:
            chosen = [records[i]["row"] for i in scores.spread(len(records), self.written)]
            speaking.compare(records, self._asked(table, columns, encoded.tokenizer, chosen), model, encoded.tokenizer,
                             most=self.max_new_tokens, pattern=self.pattern, continues=self._continues(columns))
        return Outputs(metrics=self.summarise(records), examples=sorted(records, key=lambda item: -item["loss"]))

    def _records(self, table: pa.Table, columns: Mapping[str, str], sums: Sequence[float],
                 counts: Sequence[int]) -> list[dict[str, Any]]:
        """Return a record of each row that has targets."""
        return [{"row": i, "input": questions.shown(row[:-1])[:2000], "expected": row[-1]["content"][:2000],
                 "predicted": None, "loss": round(sums[i] / counts[i], 6), "correct": None,
                 "counts": scores.losses(sums[i], counts[i])}
                for i, row in enumerate(self.conversations(table, columns)) if counts[i]]

    def summarise(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return loss and perplexity over all target tokens, and how good the written answers among them are."""
        return scores.summary([record["counts"] for record in records])

    def shares(self, records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Return the metrics that are shares of what was written."""
        return scores.shares([record["counts"] for record in records])

    # -- writing ---------------------------------------------------------------------------------------------------

    def _continues(self, columns: Mapping[str, str]) -> bool:
        """Whether the model learns plain text, and so goes on with what it is given."""
        return "messages" not in columns and "prompt" not in columns

    def _asked(self, table: pa.Table, columns: Mapping[str, str], tokenizer: Any,
               rows: Sequence[int]) -> dict[int, questions.Question]:
        """Return what these rows ask and expect, by row; those that ask or expect nothing are left out."""
        if not rows:
            return {}
        start, continues = chat.begin_mark(tokenizer), self._continues(columns)
        talks = zip(rows, self.conversations(table.take(list(rows)), columns), strict=True)
        found = {i: questions.of_text(talk[-1]["content"], start) if continues else
                 questions.of_conversation(talk, tokenizer) for i, talk in talks}
        return {i: question for i, question in found.items() if question is not None and question.expected.strip()}

    def sample(self, model: Any, encoded: Encoded, table: pa.Table,
               columns: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return what the model writes now to a few prompts of the eval rows."""
        chosen = scores.spread(table.num_rows, self.samples)
        return speaking.sample(self._asked(table, columns, encoded.tokenizer, chosen), model, encoded.tokenizer,
                               most=self.max_new_tokens, continues=self._continues(columns))

    def respond(self, asked: Asked, rows: Sequence[Mapping[str, Any]]) -> list[Reply]:
        """Return the model's answer to each row: the last message, the prompt, or a text to go on with."""
        return speaking.respond(asked, rows, most=self.max_new_tokens)


def _rows(batch: dict[str, Any]) -> torch.Tensor:
    """Return the row of the batch that each place of the flattened batch belongs to."""
    import torch

    rows, width = batch["input_ids"].shape
    if "layout" not in batch:
        return torch.arange(rows).repeat_interleave(width)
    owner = torch.zeros(width, dtype=torch.long)
    for row, (places, length) in enumerate(zip(batch["layout"].index, batch["layout"].lengths, strict=True)):
        owner[torch.as_tensor(places[:length])] = row
    return owner
