"""Where a run's parameters are: how many learn, how many are stored, in which kind of module and which layer."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from engine import memory
from engine.errors import StudioError
from engine.memory import Memory
from engine.shape import Kind, ModelShape, Role
from engine.spec import RunSpec

GROUPS: dict[Role, str] = {
    "query": "attention query", "key": "attention key", "value": "attention value", "output": "attention output",
    "qkv": "attention query+key+value", "up": "MLP up", "gate": "MLP gate", "down": "MLP down",
    "gate_up": "MLP gate+up", "norm": "norm", "embedding": "embedding", "pooler": "pooler", "head": "head",
    "pointwise": "pointwise convolution", "spatial": "convolution", "depthwise": "depthwise convolution"}
REST: dict[Kind, str] = {"linear": "other linear", "conv": "convolution"}
#: Bytes that one tensor's entry takes in the header of a safetensors file.
ENTRY = 150


class Parameters(BaseModel):
    """Counts: `trained` includes `head`; `stored` is what ends up on disk; `total` is base, additions and head."""

    model_config = ConfigDict(frozen=True)

    trained: int
    stored: int
    head: int
    total: int
    percent: float


class Cell(BaseModel):
    """The parameters of one kind of module in one layer; `layer` is None outside the blocks."""

    model_config = ConfigDict(frozen=True)

    group: str
    layer: int | None
    trained: int
    total: int


class Breakdown(BaseModel):
    """What the preview shows of a run: counts, where they sit, file size and memory, in bytes."""

    model_config = ConfigDict(frozen=True)

    parameters: Parameters
    cells: list[Cell]
    adapter_bytes: int
    memory: Memory


def of(spec: RunSpec, shape: ModelShape, labels: int, *, available: int | None = None,
       device: str = "cpu") -> Breakdown:
    """Return the breakdown of a run on a model of this shape, with a head of `labels` outputs; loads nothing."""
    own = shape.for_task(spec.task)
    parameters = count(spec, own, labels)
    return Breakdown(parameters=parameters, cells=_cells(spec, own, parameters.head),
                     adapter_bytes=_bytes(spec, own, parameters),
                     memory=memory.estimate(spec, own, labels, available, device=device))


def count(spec: RunSpec, shape: ModelShape, labels: int) -> Parameters:
    """Return the counts of a run; exact, so that the optimizer and the saved files agree with them."""
    shape = shape.for_task(spec.task)
    head = shape.head_parameters(spec.task, labels)
    learned = spec.method.trainable(shape)
    added = learned if spec.method.artifact == "adapter" else 0
    total = shape.total + added + head
    stored = spec.method.stored(shape) + head if spec.method.artifact == "adapter" else total
    percent = 100 * (learned + head) / total if total else 0.0
    return Parameters(trained=learned + head, stored=stored, head=head, total=total, percent=round(percent, 4))


def updates(spec: RunSpec, rows: int) -> tuple[int, int]:
    """Return the updates of one epoch over `rows` examples, and of the whole run."""
    training = spec.training
    each = max(1, math.ceil(rows / (training.batch_size * training.gradient_accumulation)))
    total = max(1, math.ceil(training.epochs * each - 1e-9))
    return each, min(total, training.max_steps) if training.max_steps else total


def group(role: Role, kind: Kind) -> str:
    """Return how a person calls modules of this role and kind."""
    return GROUPS.get(role) or REST.get(kind, "other")


def base_cells(shape: ModelShape) -> list[Cell]:
    """Return where the parameters of the base model are, by kind and layer, nothing being trained."""
    return _gather([(group(m.role, m.kind), m.layer, 0, m.parameters) for m in shape.modules if m.parameters])


def _cells(spec: RunSpec, shape: ModelShape, head: int) -> list[Cell]:
    rows = [(group(m.role, m.kind), m.layer, 0, m.parameters) for m in shape.modules if m.parameters]
    adds = spec.method.artifact == "adapter"
    rows += [(p.called or group(p.role, p.kind), p.layer, p.trained, p.trained if adds else 0)
             for p in spec.method.pieces(shape)]
    return _gather([*rows, ("head", None, head, head)] if head else rows)


def _gather(rows: Sequence[tuple[str, int | None, int, int]]) -> list[Cell]:
    sums: dict[tuple[str, int | None], list[int]] = {}
    for name, layer, trained, total in rows:
        cell = sums.setdefault((name, layer), [0, 0])
        cell[0] += trained
        cell[1] += total
    return [Cell(group=name, layer=layer, trained=trained, total=total)
            for (name, layer), (trained, total) in sums.items()]


def _bytes(spec: RunSpec, shape: ModelShape, parameters: Parameters) -> int:
    """Return about how large the saved weights are: trained ones in float32, frozen ones as the base stores them."""
    pieces = len(spec.method.pieces(shape))
    if spec.method.artifact == "adapter":
        return 4 * parameters.stored + ENTRY * (2 * pieces + 2)
    frozen = parameters.total - parameters.trained
    return int(4 * parameters.trained + memory.WIDTH.get(shape.dtype, 4.0) * frozen
               + ENTRY * 2 * len(shape.modules))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the breakdown of a spec's run as JSON; return the exit code (2 for a refused spec)."""
    parser = argparse.ArgumentParser(prog="python -m engine.breakdown", description=main.__doc__)
    parser.add_argument("spec", type=Path, help="a RunSpec as JSON")
    parser.add_argument("--labels", type=int, help="width of the head; counted in the data when not given")
    options = parser.parse_args(arguments)
    try:
        print(json.dumps(_of_file(options.spec, options.labels), indent=2))
    except StudioError as error:
        print(json.dumps(error.as_dict()), file=sys.stderr)
        return error.exit_code
    return 0


def _of_file(path: Path, labels: int | None) -> dict[str, object]:
    from engine import models
    from engine import spec as specs

    spec = specs.read(path)
    shape = models.inspect(models.locate(spec.model.id, revision=spec.model.revision).path)
    found = of(spec, shape, _labels(spec) if labels is None else labels, available=memory.available())
    return found.model_dump(mode="json")


def _labels(spec: RunSpec) -> int:
    """Return the width of the head that the spec's data asks for; raises what training would raise about the data."""
    from engine.data import columns, validate
    from engine.data import read as reader

    table = reader.read(Path(spec.data.train))
    held = reader.read(Path(spec.data.eval)) if spec.data.eval else None
    task = spec.make_task()
    chosen = spec.data.columns or columns.guess(table).columns
    validate.raise_first_error(task.check(table, chosen, held))
    return task.outputs(task.label_names(table, chosen))


if __name__ == "__main__":
    raise SystemExit(main())
