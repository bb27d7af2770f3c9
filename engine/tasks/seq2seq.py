"""One text made from another: summaries, translations, sentences from facts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.data import annotations, cells
from engine.findings import Finding
from engine.knobs import knob
from engine.tasks.base import Batches, ColumnRole, Encoded, Outputs, Task, TaskCard

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Seq2Seq(Task):
    """Teaches an encoder-decoder model (T5, BART) to write one text from another."""

    name: Literal["seq2seq"] = "seq2seq"
    card: ClassVar[TaskCard] = TaskCard(
        title="Text to text", order=50,
        summary="Write one text from another with a T5 or BART model: summaries, translations, sentences from facts.")
    roles: ClassVar[tuple[ColumnRole, ...]] = (
        ColumnRole("source", "Source", "The text that is given."),
        ColumnRole("target", "Target", "The text that the model should write."))
    needs: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"source", "target"}),)
    families: ClassVar[tuple[str, ...]] = ("encoder-decoder",)
    playground: ClassVar[str] = ""
    answers: ClassVar[frozenset[str]] = frozenset({"target"})

    target_length: int = knob(128, ge=2, le=4096, scale="log2", unit="tokens", title="Max target length",
                              help="Targets are cut to this many tokens, and answers written for evaluation end there.")
    written: int = knob(100, ge=0, le=100_000, advanced=True, title="Answers written", help=(
        "Evaluation rows, spread evenly, for which an answer is written and compared. Writing is slow."))

    @property
    def metric(self) -> str:
        """Mean loss of a target token."""
        return "loss"

    # -- data ------------------------------------------------------------------------------------------------------

    def check(self, table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
        """Return what is wrong or odd about sources and targets."""
        return annotations.rewriting(table, columns, eval_table)

    def texts(self, table: pa.Table, columns: Mapping[str, str]) -> Iterator[str]:
        """Yield the sources: max length is theirs."""
        yield from _texts(table, columns["source"])

    # -- model -----------------------------------------------------------------------------------------------------

    def auto_class(self) -> Any:
        """Return AutoModelForSeq2SeqLM."""
        from transformers import AutoModelForSeq2SeqLM
        return AutoModelForSeq2SeqLM

    def encode(self, table: pa.Table, columns: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, max_length: int,
               labels: Sequence[str]) -> Encoded:
        """Tokenise sources, cut at `max_length`, and targets, cut at the target length and ended like whole ones."""
        import numpy as np

        source = _ids(tokenizer, _texts(table, columns["source"]), max_length, "text")
        target = _ids(tokenizer, _texts(table, columns["target"]), self.target_length, "text_target") \
            if columns.get("target") in table.column_names else ([[]] * table.num_rows, [False] * table.num_rows)
        rows = [{"input_ids": np.asarray(ids, dtype=np.int32), "labels": np.asarray(wanted, dtype=np.int32)}
                for ids, wanted in zip(source[0], target[0], strict=True)]
        cut = sum(a or b for a, b in zip(source[1], target[1], strict=True))
        return Encoded(rows=rows, truncated=cut, tokenizer=tokenizer)

    def length(self, row: Mapping[str, Any]) -> int:
        """Return the tokens of source and target."""
        return len(row["input_ids"]) + len(row["labels"])

    def targets(self, row: Mapping[str, Any]) -> int:
        """Every token of the target counts once."""
        return len(row["labels"])

    def collate(self, rows: Sequence[Mapping[str, Any]], pad_id: int, *, packed: bool = False) -> dict[str, Any]:
        """Add `labels`, (batch, longest target), -100 where there are none."""
        import numpy as np
        import torch

        labels = np.full((len(rows), max(1, *(len(row["labels"]) for row in rows))), -100, dtype=np.int64)
        for i, row in enumerate(rows):
            labels[i, :len(row["labels"])] = row["labels"]
        return super().collate(rows, pad_id, packed=packed) | {"labels": torch.from_numpy(labels)}

    def inputs(self, model: torch.nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Add `decoder_input_ids`: the targets shifted to the right, as the model itself does it."""
        base: Any = model
        base = base.get_base_model() if hasattr(base, "get_base_model") else base
        shifted = base.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
        return super().inputs(model, batch) | {"decoder_input_ids": shifted}

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the cross entropy summed over the target tokens, each predicted from the right ones before it."""
        from engine import heads

        head = getattr(model, "studio_output", (None,))[0]
        if head is None:
            return self.losses(model, batch).sum()
        hidden, targets = self._before(model, head, batch)
        return heads.ScoreLoss.apply(hidden, head.weight, head.bias, targets)

    def losses(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the summed loss of each row's target, (batch)."""
        from torch.nn import functional as F

        from engine import heads

        head = getattr(model, "studio_output", (None,))[0]
        if head is None:
            logits = model(**self.inputs(model, batch), use_cache=False).logits
            return F.cross_entropy(logits.float().transpose(1, 2), batch["labels"], reduction="none",
                                   ignore_index=-100).sum(-1)
        found = heads.chunked(head, *self._before(model, head, batch))
        there = batch["labels"] != -100
        return found.new_zeros(there.shape).masked_scatter(there, found).sum(-1)

    def _before(self, model: torch.nn.Module, head: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the output layer is given for each target, (targets, width), and the targets."""
        from engine import heads

        hidden = heads.given(head, lambda: model(**self.inputs(model, batch), use_cache=False))
        there = batch["labels"] != -100
        return hidden[there], batch["labels"][there]

    def prepare_model(self, model: torch.nn.Module, batch: dict[str, Any]) -> None:
        """Compute the loss without keeping scores, if that gives the loss the model's own scores give."""
        import torch

        base: Any = model
        base = base.get_base_model() if hasattr(base, "get_base_model") else base
        head = base.get_output_embeddings()
        # In tuples: a module among the attributes would become a part of the model.
        model.studio_output = (None,)  # type: ignore[assignment]
        if type(head) is not torch.nn.Linear:
            return
        with torch.inference_mode():
            usual = self.losses(model, batch)
            model.studio_output = (head,)  # type: ignore[assignment]
            try:
                same = torch.allclose(self.losses(model, batch), usual, rtol=1e-3, atol=1e-3)
            except (IndexError, RuntimeError):
                same = False  # The decoder has more places than targets: a prompt of its own.
            if not same:
                model.studio_output = (None,)  # type: ignore[assignment]

    def probe(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the mean loss of each row."""
        return self.losses(model, batch) / (batch["labels"] != -100).sum(-1).clamp(min=1)

    def evaluate(self, model: PreTrainedModel, encoded: Encoded, table: pa.Table, columns: Mapping[str, str],
                 labels: Sequence[str], batches: Batches) -> Outputs:
        """Return loss and perplexity over all rows, and how good the answers written for some of them are."""
        import torch

        losses = torch.zeros(len(encoded.rows), dtype=torch.float64)
        chosen_rows = set(spread(len(encoded.rows), self.written))
        answers: dict[int, str] = {}
        for chosen, batch in batches:
            losses[chosen] = self.losses(model, batch).double().cpu()
            wanted = [place for place, i in enumerate(chosen) if i in chosen_rows]
            if wanted:
                texts = self.write(model, encoded.tokenizer, batch, wanted)
                answers |= {chosen[place]: text for place, text in zip(wanted, texts, strict=True)}
        counts = torch.tensor([self.targets(row) for row in encoded.rows])
        loss = float(losses.sum() / counts.sum()) if counts.sum() else math.nan
        means = (losses / counts.clamp(min=1)).tolist()
        sources, targets = (_texts(table, columns[role]) for role in ("source", "target"))
        records = [{"row": i, "input": text[:2000], "expected": targets[i][:2000], "predicted": answers.get(i),
                    "loss": round(means[i], 6), "correct": _same(answers[i], targets[i]) if i in answers else None}
                   for i, text in enumerate(sources)]
        pairs = [(answers[i], targets[i]) for i in sorted(answers)]
        return Outputs(metrics={"loss": loss, "perplexity": math.exp(min(loss, 700.0))} | agreement(pairs),
                       examples=sorted(records, key=lambda item: -item["loss"]))

    def write(self, model: Any, tokenizer: Any, batch: Mapping[str, Any], rows: Sequence[int]) -> list[str]:
        """Return the answers to these rows of a batch, the likeliest token at each step."""
        longest = int(batch["attention_mask"][rows].sum(-1).max())
        given = {name: batch[name][rows, :longest] for name in ("input_ids", "attention_mask")}
        ids = model.generate(**given, max_new_tokens=self.target_length, do_sample=False, num_beams=1,
                             eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
        return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]


def spread(rows: int, most: int) -> list[int]:
    """Return at most `most` of the numbers below `rows`, evenly spread."""
    count = min(rows, most)
    return [i * rows // count for i in range(count)]


def agreement(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return `exact_match`, `rouge_l` (means, 0 to 1) and corpus `bleu` (0 to 100) of (written, expected) texts.

    BLEU is sacrebleu's with its defaults (13a tokens, mixed case), against one reference.
    """
    if not pairs:
        return {}
    import sacrebleu

    from engine.rouge import rouge_l

    library: Any = sacrebleu
    written, expected = zip(*pairs, strict=True)
    bleu = library.corpus_bleu(list(written), [list(expected)])
    return {"exact_match": sum(_same(*pair) for pair in pairs) / len(pairs),
            "rouge_l": sum(rouge_l(*pair) for pair in pairs) / len(pairs), "bleu": float(bleu.score)}


def _same(written: str, expected: str) -> bool:
    return written.split() == expected.split()


def _texts(table: pa.Table, column: str) -> list[str]:
    return [value or "" for value in cells.strings(table.column(column)).to_pylist()]


def _ids(tokenizer: Any, texts: Sequence[str], most: int, role: str) -> tuple[list[np.ndarray], list[bool]]:
    """Return the ids of each text, special tokens included, and which were cut; `role` is text or text_target."""
    found = tokenizer(**{role: list(texts)}, return_attention_mask=False, verbose=False)["input_ids"]
    cut = [len(ids) > most for ids in found]
    if any(cut):
        found = tokenizer(**{role: list(texts)}, truncation=True, max_length=most,
                          return_attention_mask=False)["input_ids"]
    return found, cut
