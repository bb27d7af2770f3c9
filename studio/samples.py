"""First runs that need no data of one's own: a sample dataset, a starter model, and settings that finish in minutes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from db.users import User
from studio import service
from studio.draft import Draft


@dataclass(frozen=True)
class Sample:
    """A prepared first run: `name` is the sample dataset's, `settings` differ from the defaults."""

    name: str
    title: str
    text: str
    model: str
    task: str
    settings: dict[str, dict[str, Any]]


SAMPLES: dict[str, Sample] = {sample.name: sample for sample in (
    Sample("support_tickets", "Sort support tickets",
           "Teach MiniLM to tell eight kinds of support request apart. Trains in about a minute without a GPU.",
           "starter/minilm-l6", "text_classification",
           {"training": {"epochs": 6, "max_length": 64}}),
    Sample("friendly_chat", "Give a chat model a tone",
           "Teach SmolLM2 to answer warmly and briefly, from 136 short conversations. A few minutes without a GPU.",
           "starter/smollm2-135m", "causal_lm",
           {"training": {"epochs": 2, "batch_size": 8, "max_length": 256}}),
)}


def prepare(user: User, name: str) -> Draft:
    """Add a sample's dataset and base model where they are missing and return the run to start.

    Raises NoSuchSample, StarterMissing.
    """
    dataset = service.add_sample(user, name)
    sample = SAMPLES[name]
    service.add_model(user, sample.model)
    return Draft(dataset=dataset.id, task=sample.task, model=sample.model, method="lora", values=dict(sample.settings))
