"""What every machine-learning task promises."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from engine.findings import Finding
from engine.knobs import knob
from engine.tasks.terms import Asked, Asking, Batches, ColumnRole, Encoded, Outputs, Reply, TaskCard

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from engine.scores import Gauge


class Task(BaseModel):
    """What a model is trained to do. Its fields are the keys of `data.options`; a subclass is one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    card: ClassVar[TaskCard]
    roles: ClassVar[tuple[ColumnRole, ...]]
    #: Alternatives: each a set of roles that together suffice; roles in no required set are optional.
    needs: ClassVar[tuple[frozenset[str], ...]]
    #: Architecture families the task can train.
    families: ClassVar[tuple[str, ...]]
    #: How a model of this task is asked: with a "row" of roles, or with messages, a "chat"; "" when it cannot be yet.
    playground: ClassVar[str] = "row"
    #: Roles that hold what the model is to say: nobody fills them when asking.
    answers: ClassVar[frozenset[str]] = frozenset({"label"})
    #: Roles that a person fills when asking; those that are no answers, unless a task says otherwise.
    asks: ClassVar[tuple[ColumnRole, ...]] = ()
    #: What a person can choose when asking, such as beams or a temperature: pages, API and flags are made from it.
    asking: ClassVar[type[Asking]] = Asking
    #: What the model looks at.
    reads: ClassVar[Literal["text", "images"]] = "text"
    #: What is done to the rows before the first update, for the run's log.
    preparing: ClassVar[str] = "Turning text into tokens"

    eval_fraction: float = knob(0.1, gt=0, lt=0.9, step=0.05, title="Share kept for evaluation",
                                help="Part of the rows kept for evaluation when there is no evaluation file.")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Find out what a person fills in when asking."""
        super().__pydantic_init_subclass__(**kwargs)
        if "asks" not in cls.__dict__ and hasattr(cls, "roles"):
            cls.asks = tuple(role for role in cls.roles if role.name not in cls.answers)

    @classmethod
    def carried(cls, columns: Mapping[str, str]) -> dict[str, str]:
        """Return which column plays which part here, by its part in any task; nothing where one plays none here."""
        parts = {name: role.name for role in cls.roles for name in (role.name, *role.alike)}
        return {parts[name]: column for name, column in columns.items()} if set(columns) <= set(parts) else {}

    @property
    def metric(self) -> str:
        """The metric that decides which evaluation was best."""
        raise NotImplementedError

    @property
    def greater_is_better(self) -> bool:
        """Whether a higher value of `metric` is better."""
        return self.metric not in ("loss", "perplexity", "mse", "mae")

    @property
    def beyond(self) -> Literal["cut", "windows"]:
        """What becomes of a text that is longer than max length."""
        return "cut"

    # -- data, torch-free ------------------------------------------------------------------------------------------

    def check(self, table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
        """Return everything wrong or odd about the data for this task; findings of level "error" forbid training."""
        raise NotImplementedError

    def label_names(self, table: pa.Table, columns: Mapping[str, str]) -> list[str]:
        """Return the label names in a fixed order; empty for tasks without labels."""
        return []

    @classmethod
    def counted(cls, labels: Collection[str]) -> set[str]:
        """Return what the statistics of a dataset count of these labels: themselves, unless a task says otherwise."""
        return set(labels)

    def outputs(self, labels: Sequence[str]) -> int:
        """Return the width of the head for these labels; 0 for tasks without one."""
        return len(labels)

    def stratify_by(self, columns: Mapping[str, str]) -> str | None:
        """Return the column whose proportions a split keeps, or None."""
        return None

    def texts(self, table: pa.Table, columns: Mapping[str, str]) -> Iterator[str]:
        """Yield the text of each row as one string, for statistics."""
        raise NotImplementedError

    # -- model, torch is imported in the child only ----------------------------------------------------------------

    def auto_class(self) -> Any:
        """Return the transformers Auto class that carries this task's head."""
        raise NotImplementedError

    def config(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the model configuration this task sets (number of labels, their names, problem type)."""
        return {}

    def processor(self, folder: Path) -> Any | None:
        """Return what turns rows into tensors, a tokenizer, from a model's folder; None when there is none.

        It is saved beside what was trained, with its `save_pretrained`.
        """
        from engine import models, weights

        return models.tokenizer_of(folder) if weights.has_tokenizer(folder) else None

    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase, columns: Mapping[str, str]) -> str:
        """Give the tokenizer what the task needs (a chat template); return a sentence for the log, or nothing."""
        return ""

    def prepare_model(self, model: torch.nn.Module, batch: dict[str, Any]) -> None:
        """Make the model compute the loss of this task faster where a trial `batch` shows that nothing changes."""

    def encode(self, table: pa.Table, columns: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, max_length: int,
               labels: Sequence[str]) -> Encoded:
        """Tokenise every row of `table`."""
        raise NotImplementedError

    def length(self, row: Mapping[str, Any]) -> int:
        """Return how many tokens an encoded example has."""
        return len(row["input_ids"])

    def places(self, batch: Mapping[str, Any]) -> int:
        """Return how many tokens a batch has, padding included."""
        return batch["input_ids"].numel()

    @property
    def varies(self) -> bool:
        """Whether `vary` changes examples, so that nothing made of them holds for the next epoch."""
        return False

    def vary(self, row: dict[str, Any], numbers: tuple[int, int, int]) -> dict[str, Any]:
        """Return an example to learn from, changed as `numbers`, seed, epoch and row, decide; never in evaluation."""
        return row

    def targets(self, row: Mapping[str, Any]) -> int:
        """Return how many loss terms an encoded example has; the loss of an update is divided by their total."""
        return 1

    def numbers(self, rows: Sequence[Mapping[str, Any]]) -> list[float]:
        """Return what is to be learned where that is a number for each encoded example, of any size; else nothing."""
        return []

    def collate(self, rows: Sequence[Mapping[str, Any]], pad_id: int, *, packed: bool = False) -> dict[str, Any]:
        """Return the tensors of a batch: padded (batch, longest), or with `packed` end to end (1, tokens).

        A packed batch carries `position_ids` that restart and its `layout`.
        """
        return tensors(rows, {"input_ids": pad_id, "token_type_ids": 0}, packed=packed)

    def inputs(self, model: torch.nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the model is called with for a batch: no targets, no layout."""
        return {name: value for name, value in batch.items() if name not in ("labels", "targets", "weights", "layout")}

    #: Whether a packed batch is laid out as rows again before the head, or stays one row of tokens.
    rows_for_the_head: ClassVar[bool] = True

    def probe(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return numbers that tell whether a batch means the same to the model padded and packed, (batch, ...)."""
        raise NotImplementedError

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Return the summed loss of a batch (not its mean) so that token-budget batches weigh examples alike."""
        raise NotImplementedError

    def evaluate(self, model: PreTrainedModel, encoded: Encoded, table: pa.Table, columns: Mapping[str, str],
                 labels: Sequence[str], batches: Batches) -> Outputs:
        """Return metrics and example records over the eval rows."""
        raise NotImplementedError

    def summarise(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the metrics of any part of the records of an evaluation: a slice, or a bootstrap sample."""
        known = [bool(record["correct"]) for record in records if record.get("correct") is not None]
        losses = [float(record["loss"]) for record in records if record.get("loss") is not None]
        found = {"accuracy": sum(known) / len(known)} if known else {}
        return found | ({"loss": sum(losses) / len(losses)} if losses else {})

    def gauge(self, records: Sequence[Mapping[str, Any]]) -> Gauge:
        """Return the function from how often each record counts, (records,), to what `summarise` says of them then.

        It is asked a thousand times for intervals; a task can make it faster than this one, which is fast where
        `summarise` needs nothing but sums of `counts`.
        """
        from engine.evaluation import resampling

        return resampling.gauge(self.summarise, records)

    def shares(self, records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Return the metrics that are shares of rows, each right or wrong, with how many rows each is a share of."""
        return {"accuracy": sum(record.get("correct") is not None for record in records)}

    def sample(self, model: PreTrainedModel, encoded: Encoded, table: pa.Table,
               columns: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return what the model writes now to a few eval rows: {row, input, expected, written}; draws no numbers."""
        return []

    # -- asking a trained model ------------------------------------------------------------------------------------

    @classmethod
    def lacks(cls, filled: Collection[str]) -> list[str]:
        """Return the roles that must be filled too before a model can be asked; of several ways the shortest."""
        ways = [[role.name for role in cls.asks if role.name in need and role.name not in filled] for need in cls.needs]
        return min(ways, key=len, default=[])

    def usual(self) -> dict[str, Any]:
        """Return what a person can choose when asking as this task was set when a model was trained."""
        own = self.model_dump(exclude_unset=True)
        return {name: value for name, value in own.items() if name in self.asking.model_fields and value is not None}

    def respond(self, asked: Asked, rows: Sequence[Mapping[str, Any]]) -> list[Reply]:
        """Return what the model says about each row, a mapping of roles to values; fewer when `asked.cancelled()`."""
        raise NotImplementedError

    def filled(self, reply: Reply) -> dict[str, Any]:
        """Return the columns that a file of predictions gets for one reply."""
        best = max(reply["scores"].values(), default=None)
        return {"prediction": reply["label"]} | ({"score": best} if best is not None else {})


def tensors(rows: Sequence[Mapping[str, Any]], fill: Mapping[str, int], *, packed: bool) -> dict[str, Any]:
    """Return the columns that `fill` names as tensors, padded or packed."""
    import torch

    from engine.batches import flatten, pad

    arrays = flatten(rows, fill) if packed else pad(rows, fill)
    return {name: torch.from_numpy(value) if hasattr(value, "dtype") else value for name, value in arrays.items()}
