"""A language model that continues text: conversations, prompts with answers, or plain text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine import chat
from engine.data import validate
from engine.findings import Finding
from engine.generate import Sampling
from engine.knobs import knob
from engine.tasks.base import Asking, Batches, ColumnRole, Encoded, Outputs, Task, TaskCard, tensors

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
        ColumnRole("prompt", "Prompt", "What the model is given."),
        ColumnRole("completion", "Completion", "What the model should answer."),
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

    @property
    def metric(self) -> str:
        """Mean loss of a target token."""
        return "loss"

    # -- data ------------------------------------------------------------------------------------------------------

    def check(self, table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
        """Return what is wrong or odd about conversations, prompts or texts."""
        return validate.language(table, columns, eval_table=eval_table)

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
        """Give a tokenizer without a chat template the one that fits the data; it is saved with the adapter."""
        if tokenizer.chat_template:
            return ""
        tokenizer.chat_template = chat.fallback("messages" if "messages" in columns else
                                                "prompt" if "prompt" in columns else "text")
        return "The base model has no chat template; a simple one was added and is saved with the adapter."

    def encode(self, table: pa.Table, columns: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, max_length: int,
               labels: Sequence[str]) -> Encoded:
        """Render and tokenise every row; `labels` are the ids to be learned and -100 elsewhere.

        Rows are cut at `max_length`; one whose answers were cut off entirely has no target left.
        """
        plain = "messages" not in columns and "prompt" not in columns
        start = chat.begin_mark(tokenizer)
        rendered = [chat.as_text(row, tokenizer, start) if plain else chat.render(row, tokenizer)
                    for row in self.conversations(table, columns)]
        everything = self.learn_from == "everything"
        rows, truncated = [], 0
        for ids, learned in chat.tokenize(rendered, tokenizer):
            targets = ids.copy()
            if not everything:
                targets[~learned] = -100
            truncated += len(ids) > max_length
            rows.append({"input_ids": ids[:max_length], "labels": targets[:max_length]})
        return Encoded(rows=rows, truncated=truncated)

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
        """Return loss and perplexity over all target tokens and one record a row, worst first."""
        import torch
        sums = torch.zeros(len(encoded.rows), dtype=torch.float64)
        for chosen, batch in batches:
            losses, places = self.token_losses(model, batch)
            owner = torch.tensor(chosen)[_rows(batch)[places.cpu()]]
            sums.index_add_(0, owner, losses.double().cpu())
        counts = torch.tensor([self.targets(row) for row in encoded.rows], dtype=torch.float64)
        loss = float(sums.sum() / counts.sum()) if counts.sum() else math.nan
        records = list(self._records(table, columns, (sums / counts.clamp(min=1)).tolist(), counts.tolist()))
        return Outputs(metrics={"loss": loss, "perplexity": math.exp(min(loss, 700.0))},
                       examples=sorted(records, key=lambda item: -item["loss"]))

    def _records(self, table: pa.Table, columns: Mapping[str, str], losses: Sequence[float],
                 counts: Sequence[float]) -> Iterator[dict[str, Any]]:
        for i, row in enumerate(self.conversations(table, columns)):
            if not counts[i]:
                continue
            asked = "\n".join(f"{message['role']}: {message['content']}" for message in row[:-1])
            yield {"row": i, "input": asked[:2000], "expected": row[-1]["content"][:2000] if row else "",
                   "predicted": None, "loss": round(losses[i], 6), "correct": None}


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
