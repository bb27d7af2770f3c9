"""AdaLoRA's budget: where ranks end, what a run too short does, and going on from a checkpoint."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from test_counts import document

from engine import models, spec, tiny
from engine.methods import adalora

IDS = torch.tensor([[5, 9, 17, 33, 60, 21]])


def ada(tmp_path: Path, total: int, **settings: Any) -> tuple[adalora.Adalora, Any]:
    """Return AdaLoRA trained for `total` updates on a tiny Llama."""
    made = adalora.Adalora(init_r=6, r=4, **settings)
    path = tiny.folder("llama", tmp_path)
    torch.manual_seed(0)
    loaded = models.load(path, spec.parse(document("causal_lm", {"name": "adalora"})).make_task(), [])
    model = made.attach(loaded.model, loaded.shape, loaded.heads).eval()
    steps(made, model, range(total), total, torch.optim.AdamW(made.groups(model, 1e-2, 0.0)))
    return made, model


def steps(made: adalora.Adalora, model: Any, which: range, total: int, optimizer: torch.optim.Optimizer) -> None:
    for step in which:
        penalty = made.penalty(model)
        assert penalty is not None and penalty > 0
        (torch.nn.functional.cross_entropy(model(input_ids=IDS).logits[0, :-1], IDS[0, 1:]) + penalty).backward()
        optimizer.step()
        made.after_update(model, step, total)
        optimizer.zero_grad()


@pytest.mark.parametrize("total", [2, 3, 12])
def test_adalora_ends_at_its_budget_with_ranks_one_can_read(total: int, tmp_path: Path) -> None:
    made, model = ada(tmp_path, total, every=2)
    made.save(model, tmp_path / "out")
    ranks = adalora.final_ranks(tmp_path / "out")
    assert len(ranks) == 14
    assert sum(ranks.values()) == 14 * 4
    assert len(set(ranks.values())) > 1
    assert all(name.startswith("model.layers.") for name in ranks)


def test_a_single_update_tells_adalora_nothing_so_it_takes_nothing_away(tmp_path: Path) -> None:
    made, model = ada(tmp_path, 1)
    made.save(model, tmp_path / "out")
    assert set(adalora.final_ranks(tmp_path / "out").values()) == {6}


@pytest.mark.parametrize("stop", [1, 5, 9])
def test_adalora_goes_on_from_its_state_as_if_never_stopped(stop: int, tmp_path: Path) -> None:
    made, whole = ada(tmp_path, 0, every=2)
    optimizer = torch.optim.AdamW(made.groups(whole, 1e-2, 0.0))
    steps(made, whole, range(stop), 12, optimizer)
    _, resumed = ada(tmp_path, 0, every=2)
    resumed.load_state_dict(whole.state_dict())
    made.load_state(resumed, {name: value.clone() for name, value in made.state(whole).items()})
    again = torch.optim.AdamW(made.groups(resumed, 1e-2, 0.0))
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(made, whole, range(stop, 12), 12, optimizer)
    steps(made, resumed, range(stop, 12), 12, again)
    other = dict(resumed.named_parameters())
    assert all(p.equal(other[name]) for name, p in whole.named_parameters())



def test_adalora_without_anything_to_take_away_is_refused(tmp_path: Path) -> None:
    shape = models.inspect(tiny.folder("bert", tmp_path))
    reasons = adalora.Adalora(init_r=4, r=4).obstacles(shape, "text_classification", None)
    assert reasons == ["The first rank (4) must be larger than the final one (4)."]
    hurried = adalora.Adalora(warmup=0.6, settled=0.5).obstacles(shape, "text_classification", None)
    assert len(hurried) == 1 and "No updates are left" in hurried[0]
