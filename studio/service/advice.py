"""What to choose for a dataset and a base model: `engine.advise` fed with what is stored about both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from db.tables import Dataset
from db.users import User
from engine import advise as rules
from engine import spec as specs
from engine.advise import Advice
from engine.errors import NotEnough
from engine.models import NoQuantizer
from engine.shape import ModelShape
from studio.service import lengths
from studio.service.checks import Check, MethodObstacle, check, labels_of, shape_of, training_rows
from studio.service.fleet import memory_there, quantizer_there

#: Characters of a token where lengths in tokens were not counted; English has four to five.
CHARACTERS = 4


@dataclass(frozen=True)
class Advised:
    """An advice, and the document of the run with it applied."""

    advice: Advice
    document: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; raises SpecError for a document that is no RunSpec even so."""
        return {"advice": self.advice.model_dump(mode="json"),
                "spec": specs.parse(self.document).model_dump(mode="json")}


def advise(user: User, document: Mapping[str, Any]) -> Advised:
    """Return what to choose for the dataset, task and base model of a document whose method may be missing.

    What stands in the way of any method comes first: raises the error that `check` finds about data or model.
    """
    given = dict(document)
    # Method and settings are what is asked for: whatever stands there must not refuse the question.
    found = check(user, {name: given[name] for name in ("task", "model", "data") if name in given}
                  | {"method": {"name": "lora"}})
    for problem in found.obstacles:
        if not isinstance(problem, MethodObstacle | NotEnough | NoQuantizer):
            raise problem
    assert found.dataset is not None and found.model is not None
    made = _advice(user, found, found.dataset, shape_of(found.model))
    return Advised(made, applied(given, made))


def applied(document: Mapping[str, Any], advice: Advice) -> dict[str, Any]:
    """Return the document with the advice in place of its method and over its other settings."""
    made = dict(document)
    made["method"] = dict(advice.method)
    made["training"] = dict(made.get("training") or {}) | advice.training
    made["model"] = dict(made.get("model") or {}) | {"quantization": None} | advice.model
    return made


def _advice(user: User, found: Check, dataset: Dataset, shape: ModelShape) -> Advice:
    spec, there = found.spec, memory_there(user)
    look = lengths.look(user, spec, dataset, ask=True)
    counted = lengths.lengths_of(look)
    characters, longest = lengths.estimated(dataset)
    rows = training_rows(spec, dataset, found.eval_dataset)
    # Tokens are what is learned where text is written; a label is one word, however long its text.
    learned = 0 if shape.task_heads.get(spec.task) else round(rows * (counted.mean if counted else _mean(dataset)))
    return rules.advise(spec.task, shape, examples=rows, tokens=learned, labels=labels_of(spec, dataset),
                        available=there[0], device=there[1], lengths=counted,
                        counting=look.working, characters=characters, longest=longest, quantizer=quantizer_there(user))


def _mean(dataset: Dataset) -> float:
    """Return the tokens of a row on average as its characters tell; 0 where there are none."""
    spread = (dataset.stats or {}).get("characters")
    return spread["mean"] / CHARACTERS if spread else 0.0
