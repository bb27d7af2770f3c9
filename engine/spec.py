"""RunSpec: the one document that starts a run, wherever it comes from."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from engine import complaints, methods, preparation, tasks
from engine.errors import SpecError, UnknownKey
from engine.knobs import knob
from engine.methods.base import Method
from engine.preparation import Step
from engine.tasks.base import Task

Model = TypeVar("Model", bound=BaseModel)

Quantization = Literal["int8", "nf4"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class Part(BaseModel):
    """A part of a RunSpec: frozen, and unknown keys are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRef(Part):
    """Which base model, at which revision, in which storage precision."""

    id: str = Field(min_length=1, description="starter/<name>, local/<name>, <org>/<name> on the Hub, or a directory.")
    revision: str | None = Field(None, description="Branch, tag or commit on the Hub.")
    quantization: Quantization | None = Field(
        None, description="Store the frozen base in 8 bits (int8) or 4 bits (nf4, as QLoRA) to save memory.")


class DataRef(Part):
    """Which rows, and which column plays which part."""

    train: str = Field(min_length=1, description="A file, or the id of a dataset.")
    eval: str | None = Field(None, description="A file or dataset to evaluate on; none keeps a share of train aside.")
    columns: dict[str, str] = Field(default={}, description="Column of each role; guessed from the data when empty.")
    options: dict[str, Any] = Field(default={}, description="Settings of the task.")
    steps: Annotated[list[SerializeAsAny[Step]], BeforeValidator(lambda value: preparation.parse(value))] = Field(
        default=[], exclude_if=lambda value: not value,
        description="Steps of preparation, taken in this order before the rows are checked and split.")
    forgetting: str | None = knob(
        None, advanced=True, title="Measure forgetting on", exclude_if=lambda value: value is None, min_length=1,
        help="What is measured before training and after it, to see what the model forgets: a file or dataset of the "
             "same task, or how well it predicts plain English (neutral).")


class EarlyStopping(Part):
    """Stop when the deciding metric has not improved for `patience` evaluations."""

    patience: int = knob(3, ge=1, help="Evaluations without improvement before training stops.")
    threshold: float = knob(0.0, ge=0, help="Smallest change that counts as improvement.")


class Training(Part):
    """How long, how fast, in which order and precision."""

    epochs: float = knob(3, gt=0, le=10_000, slider=(1, 20), step=1, help="Passes over the training data.")
    learning_rate: float | Literal["auto"] = knob(
        "auto", title="Learning rate", scale="log10", slider=(1e-6, 1e-1),
        help="Peak step size. Auto uses the method's recommended value and records it.")
    batch_size: int = knob(16, ge=1, le=65_536, scale="log2", slider=(1, 256), title="Batch size",
                           help="Examples per update.")
    max_length: int = knob(128, ge=8, le=1_048_576, scale="log2", slider=(32, 4096), unit="tokens", title="Max length",
                           help="Longer examples are cut to this many tokens.")
    seed: int = knob(42, ge=0, le=2**31 - 1, help="Same seed, same machine, same result.")
    eval_every: Literal["epoch", "never"] | int = knob(
        "epoch", title="Evaluate every", advanced=True, words={"never": "Never, only at the end"},
        help="After each epoch, after so many updates, or only at the end.")
    precision: Precision = knob("auto", advanced=True,
                                help="Number format of frozen weights and arithmetic. Trained weights stay fp32.")
    schedule: Literal["linear", "cosine", "constant"] = knob(
        "linear", advanced=True, help="How the learning rate falls after warm-up.")
    warmup: float = knob(0.06, ge=0, lt=1, advanced=True, step=0.01,
                         help="Share of the updates over which the learning rate rises from zero.")
    weight_decay: float = knob(0.0, ge=0, le=1, advanced=True, title="Weight decay",
                               help="Pull of the trained weights towards zero.")
    max_steps: int | None = knob(None, ge=1, le=100_000_000, advanced=True, title="Max updates",
                                 words={None: "No limit"}, help="Stop after this many updates.")
    early_stopping: EarlyStopping | None = knob(
        None, advanced=True, title="Early stopping", help="Stop when evaluation no longer improves.")
    gradient_accumulation: int = knob(1, ge=1, le=4096, advanced=True, title="Gradient accumulation",
                                      help="Batches summed into one update; saves memory, not time.")
    gradient_checkpointing: bool = knob(False, advanced=True, title="Gradient checkpointing",
                                        help="Recompute activations in the backward pass: less memory, slower.")
    checkpoint_every: int | None = knob(
        None, ge=1, le=100_000_000, advanced=True, title="Checkpoint every", words={None: "Minute, and evaluation"},
        help="A count of updates between checkpoints, or every minute and at each evaluation.")

    @field_validator("learning_rate")
    @classmethod
    def _positive(cls, value: float | str) -> float | str:
        if isinstance(value, float) and not 0 < value <= 10:
            raise ValueError("it must be 'auto' or a number above 0 and at most 10")
        return value

    @field_validator("eval_every")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("it must be 'epoch', 'never' or at least 1")
        return value


class RateTest(Part):
    """Instead of training: raise the learning rate from update to update, to see where the loss falls fastest."""

    updates: int = Field(100, ge=20, le=500, description="Updates, each at a higher rate than the last.")
    lowest: float | None = Field(None, gt=0, le=1, description="Learning rate of the first update; none for a "
                                                               "hundredth of the run's own.")
    highest: float | None = Field(None, gt=0, le=10, description="Learning rate of the last update; none for a hundred "
                                                                 "times the run's own.")

    @model_validator(mode="after")
    def _rises(self) -> RateTest:
        if self.lowest is not None and self.highest is not None and self.lowest >= self.highest:
            raise ValueError("the highest learning rate must be above the lowest")
        return self


def _method(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    name = value.get("name")
    if not isinstance(name, str):
        raise SpecError("method.name", problem="the method has no name")
    return _validated(methods.get(name), value, "method")


class RunSpec(Part):
    """Everything a run needs to start anywhere: `python -m engine.train spec.json --out DIR`."""

    task: str
    model: ModelRef
    data: DataRef
    method: Annotated[SerializeAsAny[Method], BeforeValidator(_method)]
    training: Training = Training()
    rate_test: RateTest | None = Field(
        None, exclude_if=lambda value: value is None,
        description="Test learning rates instead of training; what it trains is thrown away.")

    @model_validator(mode="after")
    def _options_belong_to_the_task(self) -> RunSpec:
        self.make_task()
        return self

    def make_task(self) -> Task:
        """Return the task with the options of this spec."""
        return _validated(tasks.get(self.task), {"name": self.task} | self.data.options, "data.options")

    def to_json(self) -> str:
        """Return the spec as indented JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def parse(document: Any) -> RunSpec:
    """Return the RunSpec that a mapping describes; raises SpecError or UnknownKey, naming the first faulty field."""
    if not isinstance(document, dict):
        raise SpecError("spec", problem="it is not a JSON object")
    return _validated(RunSpec, document, "")


def read(path: Path) -> RunSpec:
    """Return the RunSpec in a JSON file; raises SpecError."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise SpecError(str(path), problem=f"the file cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise SpecError(str(path), problem=f"it is not valid JSON ({error})") from None


def _validated(kind: type[Model], value: dict[str, Any], prefix: str) -> Model:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _explain(error, kind, prefix) from None


def _explain(error: ValidationError, kind: type[BaseModel], prefix: str) -> SpecError:
    """Return the first of pydantic's complaints as an error of ours, the field named by its path in the document."""
    found = complaints.first(error, kind, got=True)
    location = [str(part) for part in found.place]
    where = ".".join(([prefix] if prefix else []) + location)
    if found.kind == "extra_forbidden":
        known = _known_keys(kind, location[:-1])
        close = difflib.get_close_matches(location[-1], known, 3)
        owner = where.rpartition(".")[0] or "a run"
        return UnknownKey(where, key=location[-1], owner=owner, known=_offered(close, known))
    return SpecError(where, problem=f"{found.problem}.")


def _offered(close: list[str], known: list[str]) -> str:
    """Return the keys to choose from: those written alike, and how many others there are, or else all."""
    others = len(known) - len(close)
    return f"{', '.join(close)} (or one of {others} others)" if close and others > 1 else ", ".join(known)


def _known_keys(kind: type[BaseModel], path: list[str]) -> list[str]:
    for step in path:
        inner = kind.model_fields[step].annotation
        options = [inner, *getattr(inner, "__args__", ())]
        kind = next(item for item in options if isinstance(item, type) and issubclass(item, BaseModel))
    return [key for key in kind.model_fields if not (issubclass(kind, Task) and key == "name")]
