"""How adapters are combined: the ways there are, each in a sentence, and the settings they take. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine import complaints
from engine.errors import SpecError
from engine.knobs import knob

How = Literal["cat", "linear", "svd", "ties", "ties_svd", "dare_linear", "dare_ties", "magnitude_prune", "lorahub",
              "average"]
#: Ways that drop part of the values, those that vote on signs, and those that choose their rank.
PRUNING = ("ties", "ties_svd", "dare_linear", "dare_ties", "magnitude_prune")
VOTING = ("ties", "ties_svd", "dare_ties")
RANKED = ("svd", "ties_svd")
MOST = 20


class WrongWeights(SpecError):
    """The weights do not fit: {problem}"""

    kind = "weights_invalid"
    try_this = "Give one number for each adapter, at least one of them not 0; or none for the usual weights."


@dataclass(frozen=True)
class Way:
    """What a person reads before picking a way. `equal_ranks`: it mixes the factors themselves, so ranks must agree."""

    title: str
    summary: str
    paper: str
    equal_ranks: bool = False


WAYS: dict[str, Way] = {
    "cat": Way("Exact sum", "Lays the updates side by side: their weighted sum, exactly. The rank grows to the sum of "
               "the ranks.", "Mangrulkar et al., 2022 (peft)"),
    "svd": Way("Closest of a small rank", "The weighted sum cut to its strongest directions: the nearest update of the "
               "rank you choose.", "Eckart and Young, 1936"),
    "linear": Way("Mix of factors", "Mixes the A matrices and the B matrices apart. Small and quick, but a rough "
                  "approximation of the sum.", "Mangrulkar et al., 2022 (peft)", equal_ranks=True),
    "ties": Way("TIES on factors", "Keeps the largest values, lets the adapters vote on each sign, and averages those "
                "that agree; on A and B apart.", "Yadav et al., 2023", equal_ranks=True),
    "ties_svd": Way("TIES on updates", "TIES as its paper has it, on the whole updates; then cut to the rank you "
                    "choose. Slow on wide models.", "Yadav et al., 2023"),
    "dare_linear": Way("DARE", "Drops values at random and enlarges the rest to make up for it, then mixes the "
                       "factors: the adapters disturb each other less.", "Yu et al., 2023", equal_ranks=True),
    "dare_ties": Way("DARE with TIES", "Drops values at random, enlarges the rest, then votes on the signs as TIES "
                     "does.", "Yu et al., 2023", equal_ranks=True),
    "magnitude_prune": Way("Largest values only", "Keeps the largest values of each factor, then mixes the factors.",
                           "Mangrulkar et al., 2022 (peft)", equal_ranks=True),
    "lorahub": Way("LoraHub", "Finds the weights itself from a few examples, by trying: nothing is trained. Mixes the "
                   "factors, (Σ wᵢBᵢ)(Σ wᵢAᵢ).", "Huang et al., 2023", equal_ranks=True),
    "average": Way("Average of prompts", "The mean of soft prompts or prefixes of one shape.", "Vu et al., 2022"),
}


class Recipe(BaseModel):
    """One way of combining with its settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    how: How = knob("cat", title="Way of combining", words={name: way.title for name, way in WAYS.items()},
                    help="How the adapters become one.")
    weights: list[Annotated[float, Field(ge=-100, le=100)]] | None = knob(None, help=(
        "One weight for each adapter, in their order. Empty for the usual ones; for LoraHub, to have them found."))
    density: float = knob(0.5, gt=0, le=1, step=0.05, title="Share of values kept",
                          shown_if={"how": list(PRUNING)}, help="The other values of each adapter become 0.")
    majority: Literal["total", "frequency"] = knob(
        "total", title="Vote on signs", shown_if={"how": list(VOTING)},
        help="By total: large values weigh more. By frequency: each adapter has one vote.")
    rank: Annotated[int, Field(ge=1, le=4096)] | None = knob(
        None, title="Rank", shown_if={"how": list(RANKED)}, scale="log2", slider=(1, 256),
        words={None: "Largest of them"}, help="Rank of the result: the largest among the adapters, or another.")
    heads: Literal["auto", "average", "first", "weighted"] = knob("auto", title="Task heads", help=(
        "Of heads saved with the adapters: their plain mean, the first one's, or their sum with the adapters' weights. "
        "Auto is the sum for LoraHub, else the mean."))
    examples: int = knob(16, ge=1, le=1000, scale="log2", slider=(1, 256), title="Examples to learn from",
                         shown_if={"how": "lorahub"}, help="Rows of the dataset the weights are found on.")
    evaluations: int = knob(40, ge=4, le=2000, scale="log2", slider=(10, 400), title="Tries",
                            shown_if={"how": "lorahub"}, help="How many sets of weights are tried at most.")
    penalty: float = knob(0.05, ge=0, le=10, step=0.01, slider=(0, 1), title="Penalty", advanced=True,
                          shown_if={"how": "lorahub"}, help="What the sum of the weights' sizes adds to the loss.")
    bound: float = knob(1.5, gt=0, le=10, step=0.1, slider=(0.1, 3), title="Largest weight", advanced=True,
                        shown_if={"how": "lorahub"}, help="Weights stay between minus and plus this.")
    seed: int = knob(42, ge=0, le=2**31 - 1, advanced=True, help="Same seed, same result.")

    @model_validator(mode="after")
    def _some_weight(self) -> Recipe:
        if self.weights is not None and not any(self.weights):
            raise ValueError("weights: all of them are 0, so nothing would be left")
        return self

    @property
    def way(self) -> Way:
        """The way's card."""
        return WAYS[self.how]

    @property
    def head_mix(self) -> Literal["average", "first", "weighted"]:
        """What becomes of the heads."""
        if self.heads != "auto":
            return self.heads
        return "weighted" if self.how == "lorahub" else "average"

    @property
    def searches(self) -> bool:
        """Whether the weights are to be found on examples."""
        return self.how == "lorahub" and self.weights is None

    def weights_for(self, count: int) -> list[float]:
        """Return the weights of `count` adapters: those given, or the usual ones. Raises WrongWeights.

        Usual: equal and adding up to one, so that the result is as strong as one adapter; 1 each where the way takes
        the mean of those that agree by itself (TIES).
        """
        if self.weights is None:
            return [1.0 if self.how in VOTING else 1.0 / count] * count
        if len(self.weights) != count:
            raise WrongWeights("weights", problem=f"there are {len(self.weights)} for {count} adapters.")
        if self.how == "average" and any(weight < 0 for weight in self.weights):
            raise WrongWeights("weights", problem="the weights of an average cannot be negative.")
        return [float(weight) for weight in self.weights]


def parse(document: dict[str, Any]) -> Recipe:
    """Return the recipe a document describes; raises SpecError with the first thing wrong."""
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        found = complaints.first(error, Recipe)
        where = found.where or "weights"
        problem = f"'{where}' is none of its settings: {', '.join(Recipe.model_fields)}" \
            if found.kind == "extra_forbidden" else f"{found.problem}."
        raise SpecError(where, problem=problem) from None


def finite(value: float) -> float | None:
    """Return a number JSON can hold, None for infinities and what is not a number."""
    return value if math.isfinite(value) else None
