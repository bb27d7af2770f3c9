"""What to choose for this task, data, model and device: each setting with the rule it follows and its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from engine import memory, methods
from engine.methods.base import Method
from engine.methods.lora import Lora
from engine.shape import ModelShape
from engine.spec import RunSpec, parse

if TYPE_CHECKING:
    from engine.data.token_lengths import TokenLengths

WITHOUT_REGRET = "Schulman et al., LoRA Without Regret, 2025"
LESS = "Biderman et al., LoRA Learns Less and Forgets Less, 2024"
V2 = "Liu et al., P-Tuning v2, 2022"
LESTER = "Lester et al., 2021"
RSLORA = "Kalajdzievski, rsLoRA, 2023"
QLORA = "Dettmers et al., QLoRA, 2023"
PRACTICE = "a rule of thumb"
SIZES = "a rule of thumb of courses on the subject; no single paper's result"

#: Up to this many examples -> the rank of LoRA that suits them.
RANKS: tuple[tuple[int, int], ...] = ((50, 2), (1_000, 4), (5_000, 8), (100_000, 16))
LARGEST_RANK = 128
#: Fewest examples LoRA is worth its parameters for.
FEW = 20
#: Parameters below which a model is too small for prompts at its input alone.
SMALL = 1_000_000_000
#: Share of the rows that the advised length should hold, its steps, and the most that is advised.
NEARLY, SHORTEST, MOST = 0.99, 16, 32_768


class Reason(BaseModel):
    """Why a setting has its value: the rule in one sentence, and its source."""

    model_config = ConfigDict(frozen=True)

    setting: str
    value: str
    rule: str
    source: str


class Advice(BaseModel):
    """Parts of a RunSpec to apply as they are, why, and what would be worth comparing (method name, why)."""

    model_config = ConfigDict(frozen=True)

    method: dict[str, Any]
    training: dict[str, Any]
    model: dict[str, Any]
    reasons: list[Reason]
    compare: list[tuple[str, str]]
    warnings: list[str] = []


def advise(task: str, shape: ModelShape, *, examples: int, tokens: int = 0, labels: int = 2,
           available: int | None = None, device: str = "cpu", lengths: TokenLengths | None = None,
           counting: bool = False, characters: int = 0, longest: int = 0, quantizer: bool = True) -> Advice:
    """Return what to choose for `examples` rows that hold `tokens` tokens to be learned (0: unknown).

    `available` is memory in bytes on `device`, `lengths` the rows' tokens where they were counted; where not, 95 % of
    them have at most so many `characters`, and hardly more than `longest` tokens (0: unknown), and `counting` tells
    that somebody is at it. `quantizer` is False
    where a base cannot be loaded in 4 or 8 bits.
    """
    own = shape.for_task(task)
    made = _Adviser(task, own, examples, tokens, labels, device)
    made.quantizer, made.counting = quantizer, counting
    method = made.method()
    training = made.training(method)
    if lengths is not None or longest:
        training["max_length"] = made.max_length(method, lengths, characters, longest)
    model = made.model(method, training, available)
    return Advice(method=method, training=training, model=model, reasons=made.reasons, compare=made.compare(method),
                  warnings=made.warnings)


class _Adviser:
    """Goes through the rules in order and notes the reason for each choice."""

    def __init__(self, task: str, shape: ModelShape, examples: int, tokens: int, labels: int, device: str) -> None:
        self.task, self.shape, self.examples, self.tokens = task, shape, examples, tokens
        self.labels, self.device = labels, device
        self.quantizer, self.counting = True, False
        self.reasons: list[Reason] = []
        self.warnings: list[str] = []

    def because(self, setting: str, value: Any, rule: str, source: str) -> None:
        self.reasons.append(Reason(setting=setting, value=str(value), rule=rule, source=source))

    def possible(self, name: str) -> bool:
        kind = methods.every().get(name)
        return kind is not None and not kind(name=name).obstacles(self.shape, self.task, None)

    # -- method ----------------------------------------------------------------------------------------------------

    def method(self) -> dict[str, Any]:
        if self.examples < FEW:
            self.warnings.append(f"{self.examples} examples are very few; {FEW} to 50 more would help more than any "
                                 "setting.")
            if self.possible("bitfit"):
                self.because("method", "bitfit", f"Fewer than {FEW} examples are too few for LoRA; biases alone hold "
                                                 "less to overfit with.", SIZES)
                return {"name": "bitfit"}
        if not self.possible("lora"):
            name = next((name for name in methods.every() if self.possible(name)), "full")
            self.because("method", name, "LoRA finds no layer it could adapt in this model.", PRACTICE)
            return {"name": name}
        self.because("method", "lora", "Matches full fine-tuning on small and medium data at a fraction of the memory.",
                     WITHOUT_REGRET)
        return self._lora()

    def _lora(self) -> dict[str, Any]:
        rank = next((rank for most, rank in RANKS if self.examples <= most), LARGEST_RANK)
        self.because("r", rank, f"{self.examples:,} examples: a rank of about {rank} holds what they teach.", SIZES)
        made: dict[str, Any] = {"name": "lora", "targets": "all-linear"}
        self.because("targets", "all-linear", "All linear layers, the feed-forward ones above all; more rank does not "
                                              "make up for attention alone.", WITHOUT_REGRET)
        while self.tokens and rank < LARGEST_RANK and _lora(rank).trainable(self.shape) < self.tokens:
            rank *= 2
            self.because("r", rank, f"LoRA should not have fewer parameters than the {self.tokens:,} tokens to be "
                                    "learned.", WITHOUT_REGRET)
        if rank >= 64:
            made["use_rslora"] = True
            self.because("use_rslora", True, "Ranks of 64 and more learn only when scaled by alpha / √r.", RSLORA)
        return made | {"r": rank, "alpha": 2.0 * rank}

    # -- training --------------------------------------------------------------------------------------------------

    def training(self, method: dict[str, Any]) -> dict[str, Any]:
        epochs = 10 if self.examples < 200 else 5 if self.examples < 2_000 else 3 if self.examples < 50_000 else 1
        batch = 8 if self.examples < 500 else 16
        updates = epochs * -(-self.examples // batch)
        passes = "one pass" if epochs == 1 else f"{epochs} passes"
        self.because("epochs", epochs, f"{self.examples:,} examples: {passes}, about {updates:,} updates. " + (
            "More would learn them by heart." if epochs > 1 else "More passes are seldom needed."), PRACTICE)
        self.because("batch_size", batch, "Fewer than 32 examples an update: low-rank updates lose by large batches.",
                     WITHOUT_REGRET)
        rate = methods.get(method["name"]).model_validate(method).learning_rate(self.shape, self.task)
        studied = method["name"] == "lora" and self.shape.family != "vision"
        self.because("learning_rate", f"{rate:g}", "The method's own rate for a model of this width.",
                     WITHOUT_REGRET if studied else PRACTICE)
        return {"epochs": float(epochs), "batch_size": batch, "learning_rate": "auto"}

    def max_length(self, method: dict[str, Any], lengths: TokenLengths | None, characters: int, longest: int) -> int:
        """Return a length that cuts hardly any row, as far as the base model takes it; say what it was gone by."""
        wanted = lengths.within(NEARLY) if lengths is not None else longest
        taken = methods.get(method["name"]).model_validate(method).virtual_tokens(self.shape)
        limit = max(SHORTEST, self.shape.max_length - taken) if self.shape.max_length else MOST
        length = min(limit, max(SHORTEST, -(-wanted // SHORTEST) * SHORTEST))
        if lengths is None:
            how = "Tokens are being counted; until then" if self.counting else "Not counted in tokens, so"
            rule = f"{how} estimated on the safe side: 95 % of the rows have at most {characters:,} characters."
        else:
            over = lengths.over(length)
            fit = f"{100 * (1 - over):.3g} % of {lengths.told} fit" if over else "No row is longer"
            rule = f"{fit}, counted in this model's tokens."
        if length < wanted:
            rule += f" The base model takes no more than {limit:,}."
            self.warnings.append(f"Some rows are longer than the {limit:,} tokens that this base model takes, and will "
                                 "be cut: split or shorten them, or choose a base model that takes longer texts.")
        self.because("max_length", length, rule, PRACTICE)
        return length

    # -- base model ------------------------------------------------------------------------------------------------

    def model(self, method: dict[str, Any], training: dict[str, Any], available: int | None) -> dict[str, Any]:
        if available is None:
            return {}
        for quantization, spared in ((None, False), (None, True), ("int8", True), ("nf4", True)):
            tried = training | ({"gradient_checkpointing": True} if spared else {})
            if quantization and not self.quantizer:
                self.warnings.append("This base model does not fit the memory here. In 4 bits it might: pip install "
                                     "bitsandbytes. Or choose a smaller one.")
                return {}
            plan = self._plan(method, tried, quantization)
            if plan.method.obstacles(self.shape, self.task, quantization):
                break
            need = memory.estimate(plan, self.shape, self.labels, available, device=self.device)
            if need.verdict != "too big":
                return self._spare(training, quantization, spared)
        self.warnings.append("This base model does not fit the memory here, even in 4 bits. Choose a smaller one.")
        return {}

    def _spare(self, training: dict[str, Any], quantization: str | None, spared: bool) -> dict[str, Any]:
        if spared:
            training["gradient_checkpointing"] = True
            self.because("gradient_checkpointing", True, "Kept activations would not fit this memory; computing them "
                                                         "twice costs a third of the time.", "Chen et al., 2016")
        if quantization is None:
            return {}
        self.because("quantization", quantization, "In more bits the base does not fit this memory.", QLORA)
        return {"quantization": quantization}

    def _plan(self, method: dict[str, Any], training: dict[str, Any], quantization: str | None) -> RunSpec:
        return parse({"task": self.task, "model": {"id": "advice", "quantization": quantization},
                      "data": {"train": "advice"}, "method": method, "training": training})

    # -- what else -------------------------------------------------------------------------------------------------

    def compare(self, method: dict[str, Any]) -> list[tuple[str, str]]:
        """Return other methods worth a run of their own, the most telling first."""
        biased = any(m.bias for m in self.shape.modules if m.kind == "linear" and m.layer is not None)
        wanted: list[tuple[str, str, bool]] = [
            ("full", f"The reference; from about 10,000 examples it can win ({LESS}).", self.examples >= 5_000
             or self.shape.total < 100_000_000),
            ("head", "The floor: how far the frozen model gets by itself.", bool(self.shape.task_heads.get(self.task))),
            ("bitfit", "About a thousandth of the weights; with BERT within two points of training all (Ben Zaken et "
             f"al., 2022).{'' if biased else ' This model has no biases: they are added, and start at zero.'}",
             self.examples < 20_000),
            ("p_tuning_v2", f"Prompts in every layer: strong on tagging and answering with models below 1B ({V2}).",
             self.task in ("token_classification", "question_answering")),
            ("prompt_tuning", f"Reaches full fine-tuning on models of 10B and more ({LESTER}).",
             self.shape.total >= 10 * SMALL)]
        return [(name, why) for name, why, fits in wanted
                if fits and name != method["name"] and self.possible(name)]


def _lora(rank: int) -> Method:
    return Lora(name="lora", r=rank)


def worst_choices(task: str, shape: ModelShape, names: Sequence[str]) -> dict[str, str]:
    """Return, of these methods, those that published comparisons advise against here, with the reason."""
    found: dict[str, str] = {}
    small = shape.total < SMALL
    for name in names:
        if name == "prompt_tuning" and small:
            found[name] = (f"Prompts at the input alone are weak on models below 1B parameters ({LESTER}): P-tuning v2 "
                           "or LoRA do better.")
        if name == "p_tuning" and small and task in ("token_classification", "question_answering"):
            found[name] = f"P-tuning falls behind on tagging and answering with small models ({V2})."
    return found
