"""A sparse change of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods import _own, _places
from engine.methods.base import Card, Method, Piece, full_learning_rate
from engine.shape import ModelShape, Module

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class DiffPruning(Method):
    """Learns a change of every layer's weights and, with a price on each, which few of them are worth keeping.

    Embeddings are left out unless asked for, unlike in the paper: most rows of a table of words are hardly ever seen.
    """

    name: Literal["diff_pruning"] = "diff_pruning"
    density: float = knob(0.005, gt=0, le=1, scale="log10", slider=(0.001, 0.1), title="Share that may change", help=(
        "Share of the layers' weights that differ from the base in the end; the largest changes stay. 0.005 is the "
        "paper's."))
    structured: bool = knob(True, title="Structured", help=(
        "Let whole matrices and biases open and close too, so that some stay as they are altogether."))
    price: float = knob(10.0, ge=0, le=1000, scale="log10", slider=(0.1, 100), title="Price λ", help=(
        "What is added to the loss if every weight changes; the paper's 1.25e-7 a weight makes 42 for BERT-large."))
    embeddings: bool = knob(False, advanced=True, title="Embeddings too", help=(
        "Let the table of words change as well, as in the paper. Of a small model it is half, so twice is learned."))
    rise: float = knob(0.2, ge=0, le=1, step=0.05, advanced=True, title="Rise of the price",
                       help="Share of the updates over which the price rises from 0.")
    settle: float = knob(0.25, ge=0, lt=1, step=0.05, advanced=True, title="Share after the cut", help=(
        "The last share of the updates, in which only the changes that were kept go on learning. With 0 the cut comes "
        "at the very end."))
    gate_rate: float = knob(0.1, gt=0, le=1, scale="log10", advanced=True, title="Learning rate of the gates",
                            help="How fast changes open and close; the paper uses 0.1 whatever the learning rate.")

    card: ClassVar[Card] = Card(
        title="Diff pruning", family="selective", order=90,
        summary="Fine-tunes all layers but keeps only the half per cent of changes that matter most.",
        paper="Guo et al., 2021", url="https://arxiv.org/abs/2012.07463",
        use_when="The stored result must be tiny and quality near full fine-tuning; one base, very many tasks.",
        avoid_when="Memory is short: two numbers are learned a weight, so it needs more than full fine-tuning.",
        settings="0.5 % kept, structured, up to three times the learning rate of full fine-tuning, several epochs.",
        formula="θ = θ₀ + z ⊙ w, min L + λ·E‖z‖₀, z hard-concrete gates in [0, 1]", mergeable=True)

    def chosen(self, shape: ModelShape) -> list[Module]:
        """Return the modules whose weights change: linear and norm layers, and the table of words where asked for."""
        tables = _own.token_tables(shape) if self.embeddings else []
        return [m for m in [*tables, *_own.everywhere(shape)] if m.parameters and not m.tied]

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return a change and a gate for each number, and the place and value of each that is kept.

        Where the kept ones will lie is not known before: they are shared out by size, their sum is exact.
        """
        chosen = self.chosen(shape)
        if not chosen:
            return []
        kept = _places.shared([m.parameters for m in chosen], self.kept(shape), [m.name for m in chosen])
        return [Piece(m.name, m.kind, m.role, m.layer,
                      2 * m.parameters + (1 + (m.parameters > self._weights(m)) if self.structured else 0),
                      2 * kept.get(m.name, 0)) for m in chosen]

    def kept(self, shape: ModelShape) -> int:
        """Return how many numbers differ from the base in the end."""
        return self._count(sum(m.parameters for m in self.chosen(shape)))

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Refuse quantized bases, and models without layers that are known."""
        reasons = [] if self.chosen(shape) else ["No layer of this model was recognised."]
        if self.embeddings and shape.tied_embeddings and not shape.task_heads.get(task):
            reasons.append("This model's table of words is its output layer too, so a change of it would be one in two "
                           "places: leave embeddings out.")
        if quantization:
            reasons.append("Weights stored in 4 or 8 bits cannot change; diff pruning needs the base as it is.")
        return reasons

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return three times the rate of full fine-tuning: most of what is learned is cut away again."""
        return float(f"{min(3 * full_learning_rate(shape), 1e-3):.1e}")

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with a change and a gate for every weight."""
        import torch

        from engine.tuners.diff_pruning import DiffPruningConfig

        wrapped: Any = _own.attach(model, DiffPruningConfig, self.chosen(shape), heads, structured=self.structured)
        # Drawn from the run's seed: two runs with another seed also draw other gates.
        wrapped.base_model.drawn_from = int(torch.randint(2**31, ()))
        return wrapped

    def before_update(self, model: torch.nn.Module, step: int, total: int) -> None:
        """Draw the gates of this update, set its price, and cut when it is time."""
        from engine.tuners.diff_pruning import learning, project

        tuner: Any = model.base_model
        layers = [layer for _, layer in learning(model)]
        for number, layer in enumerate(layers):
            layer.draw = (tuner.drawn_from * 1_000_003 + step * len(layers) + number) % 2**63
        cut = total - int(total * self.settle)
        rising = self.rise * total
        tuner.price = 0.0 if step >= cut else self.price * min(1.0, (step + 1) / rising if rising else 1.0)
        if step == cut:
            project(model, self._count(_size(model)))

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """Return λ times the share of numbers that are expected to change."""
        from engine.tuners.diff_pruning import learning

        tuner: Any = model.base_model
        price = getattr(tuner, "price", 0.0)
        if not price:
            return None
        expected = [layer.open("default") for _, layer in learning(model)]
        return sum(expected[1:], expected[0]) * (price / _size(model)) if expected else None

    def conclude(self, model: torch.nn.Module) -> bool:
        """Cut to the share that may change if that was not done, and keep what is left as places and values."""
        from engine.tuners.diff_pruning import learning, project

        total = _size(model)
        if not total:
            return False
        changed = project(model, self._count(total))
        for _, layer in list(learning(model)):
            layer.finish("default")
        described: Any = model.peft_config
        described["default"].kept, described["default"].of = self._count(total), total
        return changed

    def groups(self, model: torch.nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return the changes at the learning rate and the gates at their own, which do not decay."""
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        gates = [p for name, p in trained if ".diff_gate." in name or ".diff_group." in name]
        rest = [p for name, p in trained if ".diff_gate." not in name and ".diff_group." not in name]
        return [{"params": rest, "lr": learning_rate, "weight_decay": weight_decay},
                {"params": gates, "lr": self.gate_rate, "weight_decay": 0.0}]

    def _count(self, total: int) -> int:
        return max(1, round(self.density * total))

    @staticmethod
    def _weights(module: Module) -> int:
        """Return how many of a module's numbers are its weight rather than its bias."""
        return module.d_out if module.kind == "norm" else module.d_in * module.d_out


def _size(model: torch.nn.Module) -> int:
    """Return how many numbers have a gate."""
    from engine.tuners.diff_pruning import learning

    return sum(layer.diff_gate["default"].numel() for _, layer in learning(model))
