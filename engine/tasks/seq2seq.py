"""One text made from another: summaries, translations, sentences from facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.control import Control
from engine.data import annotations, cells
from engine.data.findings import some
from engine.findings import Finding
from engine.generation import scores, speaking
from engine.generation.searching import BEAMS, BEAMS_HELP, PENALTY, PENALTY_HELP, REPEAT, REPEAT_HELP, Searching
from engine.knobs import knob
from engine.tasks.base import Task
from engine.tasks.terms import Asked, Asking, Batches, ColumnRole, Encoded, Outputs, Reply, TaskCard

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
        ColumnRole("source", "Source", "The text that is given.", alike=("prompt",)),
        ColumnRole("target", "Target", "The text that the model should write.", alike=("completion",)))
    needs: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"source", "target"}),)
    families: ClassVar[tuple[str, ...]] = ("encoder-decoder",)
    answers: ClassVar[frozenset[str]] = frozenset({"target"})
    asking: ClassVar[type[Asking]] = Searching

    prefix: str = knob("", max_length=1000, title="Prefix", help=(
        "Text put before every source, such as 'summarize: ', as T5 was taught its tasks."))
    target_length: int = knob(128, ge=2, le=4096, scale="log2", unit="tokens", title="Max target length",
                              help="Targets are cut to this many tokens; max length is that of sources.")
    samples: int = knob(3, ge=0, le=20, advanced=True, title="Samples", help=(
        "Sources of the evaluation rows that the model rewrites at every evaluation, to see it change."))
    written: int = knob(100, ge=0, le=100_000, advanced=True, title="Texts written", help=(
        "Different sources of the evaluation rows, spread evenly, for which a text is written and compared with all "
        "its targets. Writing is slow."))
    num_beams: int = knob(1, ge=1, le=16, advanced=True, title=BEAMS, help=BEAMS_HELP)
    max_new_tokens: int | None = knob(None, ge=1, le=4096, advanced=True, unit="tokens", title="Longest text",
                                      words={None: "Max target length"},
                                      help="Texts written end here at the latest, or at the max target length.")
    length_penalty: float = knob(1.0, ge=-5, le=5, step=0.1, advanced=True, title=PENALTY, help=PENALTY_HELP)
    no_repeat: int = knob(0, ge=0, le=20, advanced=True, unit="tokens", title=REPEAT, help=REPEAT_HELP)

    @property
    def metric(self) -> str:
        """Mean loss of a target token."""
        return "loss"

    # -- data ------------------------------------------------------------------------------------------------------

    def check(self, table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
        """Return what is wrong or odd about sources and targets."""
        found = annotations.rewriting(table, columns, eval_table)
        if any(item.level == "error" for item in found):
            return found
        # A word is a token at least: what has more of them is cut for certain.
        long = [number for number, text in enumerate(_texts(table, columns["target"]), 1)
                if len(text) > self.target_length and len(text.split()) > self.target_length]
        return found + ([some(
            "warning", "target_long", f"The target has more words than the {self.target_length} tokens it is cut to",
            long[:cells.SHOWN], len(long), "Raise the max target length, or go on without these endings.",
            columns["target"])] if long else [])

    def texts(self, table: pa.Table, columns: Mapping[str, str]) -> Iterator[str]:
        """Yield the sources with their prefix: max length is theirs."""
        yield from self._sources(table, columns)

    def _sources(self, table: pa.Table, columns: Mapping[str, str]) -> list[str]:
        return [self.prefix + text for text in _texts(table, columns["source"])]

    # -- model -----------------------------------------------------------------------------------------------------

    def auto_class(self) -> Any:
        """Return AutoModelForSeq2SeqLM."""
        from transformers import AutoModelForSeq2SeqLM
        return AutoModelForSeq2SeqLM

    def encode(self, table: pa.Table, columns: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, max_length: int,
               labels: Sequence[str]) -> Encoded:
        """Tokenise sources, cut at `max_length`, and targets, cut at the target length and ended like whole ones."""
        import numpy as np

        source = _ids(tokenizer, self._sources(table, columns), max_length, "text")
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
        """Return loss and perplexity over all rows, and how good the texts written from some sources are.

        A text is compared with the targets of all rows that have its source.
        """
        import torch

        losses = torch.zeros(len(encoded.rows), dtype=torch.float64)
        for chosen, batch in batches:
            losses[chosen] = self.losses(model, batch).double().cpu()
        counts = [len(row["labels"]) for row in encoded.rows]
        sources, targets = (_texts(table, columns[role]) for role in ("source", "target"))
        kept = speaking.KEPT
        records = [{"row": i, "input": text[:kept], "asked": {"source": text[:kept]}, "expected": targets[i][:kept],
                    "predicted": None, "loss": round(nats / max(counts[i], 1), 6), "correct": None,
                    "counts": scores.losses(nats, counts[i])}
                   for i, (text, nats) in enumerate(zip(sources, losses.tolist(), strict=True))]
        self._compare(records, model, encoded, sources, targets)
        return Outputs(metrics=self.summarise(records), examples=sorted(records, key=lambda item: -item["loss"]))

    def summarise(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return loss and perplexity over all target tokens, and how good the written texts among them are."""
        return scores.summary([record["counts"] for record in records])

    def shares(self, records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Return the metrics that are shares of what was written."""
        return scores.shares([record["counts"] for record in records])

    # -- writing ---------------------------------------------------------------------------------------------------

    def _compare(self, records: Sequence[dict[str, Any]], model: Any, encoded: Encoded, sources: Sequence[str],
                 targets: Sequence[str]) -> None:
        """Add what is written to the records: the text to all rows of its source, its counts to the first of them."""
        rows: dict[str, list[int]] = {}
        for i, text in enumerate(sources):
            if targets[i].strip():
                rows.setdefault(text, []).append(i)
        groups = list(rows.values())
        chosen = [groups[i] for i in scores.spread(len(groups), self.written)]
        texts = self._write(model, encoded, [group[0] for group in chosen], self._longest)
        references = [[targets[i] for i in group] for group in chosen]
        for group, text, count in zip(chosen, texts, scores.compared(texts, references), strict=True):
            records[group[0]]["counts"] |= count
            for i in group:
                records[i]["predicted"], records[i]["correct"] = text, bool(count["exact_match"])

    def _write(self, model: Any, encoded: Encoded, rows: Sequence[int], most: int) -> list[str]:
        """Return the texts made of these rows; raises Stopped when the run is to stop at once."""
        found = self._search([encoded.rows[i]["input_ids"] for i in rows], model, encoded.tokenizer,
                             {"max_new_tokens": most}, Control.urgent)
        if Control.urgent():
            Control.check()
        return [text or "" for text in found]

    def _search(self, sources: Sequence[Any], model: Any, tokenizer: Any, options: Mapping[str, Any],
                cancelled: Any) -> list[str | None]:
        """Return the text made of each source (token ids), with `options` in place of the task's own."""
        from engine.generation import rewriting

        def chosen(name: str) -> Any:
            return options.get(name, getattr(self, name))

        search = rewriting.Search(most=int(options.get("max_new_tokens") or self._longest), beams=int(
            chosen("num_beams")), length_penalty=float(chosen("length_penalty")), no_repeat=int(chosen("no_repeat")))
        return rewriting.write(model, tokenizer, sources, search, device=str(model.device), cancelled=cancelled)

    def sample(self, model: Any, encoded: Encoded, table: pa.Table,
               columns: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return what the model makes now of a few sources of the eval rows."""
        sources, targets = (_texts(table, columns[role]) for role in ("source", "target"))
        first = sorted({text: i for i, text in reversed(list(enumerate(sources)))}.values())
        chosen = [first[i] for i in scores.spread(len(first), self.samples)]
        most = min(self._longest, speaking.SAMPLE_TOKENS)
        texts = self._write(model, encoded, chosen, most)
        kept = speaking.KEPT
        return [{"row": i, "input": sources[i][:kept], "expected": targets[i][:kept], "written": text[:kept]}
                for i, text in zip(chosen, texts, strict=True)]

    def usual(self) -> dict[str, Any]:
        """Texts may be as long as the targets that were learned."""
        return super().usual() | {"max_new_tokens": self._longest}

    @property
    def _longest(self) -> int:
        """The most tokens that are written where nothing else is chosen."""
        return self.max_new_tokens or self.target_length

    def respond(self, asked: Asked, rows: Sequence[Mapping[str, Any]]) -> list[Reply]:
        """Return the text made of each row's source, cut as in training; fewer when `asked.cancelled()`."""
        sources = [self.prefix + str(row.get("source") or "") for row in rows]
        if not sources:
            return []
        whole = asked.tokenizer(sources, return_attention_mask=False, verbose=False)["input_ids"]
        read = _ids(asked.tokenizer, sources, asked.limit, "text")[0] if asked.limit else whole
        replies: list[Reply] = []
        for ids, there, text in zip(read, whole, self._search(read, asked.model, asked.tokenizer, asked.options,
                                                             asked.cancelled), strict=True):
            if text is None:
                break
            cut = len(ids) < len(there)
            note = f"Only the first {len(ids)} of {len(there)} tokens were read, as in training." if cut else ""
            replies.append(speaking.reply(text, note))
        return replies


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
