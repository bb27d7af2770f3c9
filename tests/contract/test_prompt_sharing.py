"""Rows of a batch share one pass over a prompt in front of them: the same numbers as a pass for each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from prompted import METHODS, Made, inputs
from test_prompt_methods import DECODERS

from engine.prepare import _checkpoint_activations
from engine.tuners.prompt import PromptModel


def seen(made: Made, monkeypatch: pytest.MonkeyPatch, shared: bool) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return outputs of the real places, the gradient of the prompt, and how often a pass was shared."""
    calls: list[bool] = []
    sharable = PromptModel._sharable

    def asked(self: PromptModel, *given: Any) -> bool:
        calls.append(shared and sharable(self, *given))
        return calls[-1]

    with monkeypatch.context() as patch:
        patch.setattr(PromptModel, "_sharable", asked)
        given = inputs(made.task)
        logits = made.model(**given).logits
    real = logits[given["attention_mask"].bool()] if logits.dim() == 3 else logits
    made.model.zero_grad()
    real.float().square().sum().backward()
    tokens = made.model.base_model.layer.prompt_tokens["default"]
    return real.detach(), tokens.grad.clone(), sum(calls)


@pytest.mark.parametrize("task", ["causal_lm", "text_classification"])
@pytest.mark.parametrize("name", DECODERS)
def test_sharing_changes_neither_outputs_nor_gradients(name: str, task: str, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path, name, task, METHODS["prompt"])
    made.loaded.model.config.use_cache = False
    together, alone = seen(made, monkeypatch, True), seen(made, monkeypatch, False)
    assert (together[2], alone[2]) == (1, 0)
    for ours, theirs in zip(together[:2], alone[:2], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5, rtol=1e-4), (ours - theirs).abs().max()


@pytest.mark.parametrize("case", ["an encoder", "padding in front", "a cache", "checkpointing"])
def test_where_it_would_not_be_the_same_every_row_has_its_own_pass(case: str, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path, "bert" if case == "an encoder" else "llama",
                "text_classification" if case == "an encoder" else "causal_lm", METHODS["prompt"])
    made.loaded.model.config.use_cache = case == "a cache"
    if case == "checkpointing":
        _checkpoint_activations(made.loaded.model)
        made.model.train()
    if case == "padding in front":
        usual = inputs("causal_lm")
        monkeypatch.setitem(globals(), "inputs", lambda task: {name: value.flip(1) for name, value in usual.items()})
    assert seen(made, monkeypatch, True)[2] == 0
