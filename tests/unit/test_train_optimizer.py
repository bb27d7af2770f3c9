"""One flat AdamW learns exactly what torch's AdamW learns, and the learning rate follows its schedule."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from engine.optimizer import FlatAdamW, schedule


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 3, bias=False))


def groups(model: nn.Module) -> list[dict[str, object]]:
    first = [p for name, p in model.named_parameters() if name.startswith("0")]
    rest = [p for name, p in model.named_parameters() if not name.startswith("0")]
    return [{"params": first, "lr": 0.03, "weight_decay": 0.1}, {"params": rest, "lr": 0.3, "weight_decay": 0.0}]


def test_a_flat_optimizer_gives_the_weights_of_adamw_with_clipping_and_groups() -> None:
    ours, theirs = network(), network()
    flat = FlatAdamW(groups(ours))
    reference = torch.optim.AdamW(groups(theirs))
    inputs = torch.randn(20, 16, 7)
    for step, batch in enumerate(inputs):
        ours(batch).pow(3).sum().backward()
        theirs(batch).pow(3).sum().backward()
        norm = flat.clip(1.0)
        assert torch.allclose(norm, nn.utils.clip_grad_norm_(theirs.parameters(), 1.0), rtol=1e-5)
        flat.step(1 / (step + 1))
        flat.forget()
        for group, peak in zip(reference.param_groups, (0.03, 0.3), strict=True):
            group["lr"] = peak / (step + 1)
        reference.step()
        reference.zero_grad()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_restored_optimizer_goes_on_bit_for_bit() -> None:
    batch = torch.randn(4, 7)
    whole, parts = network(), network()
    steady = FlatAdamW(groups(whole))
    broken = FlatAdamW(groups(parts))

    def update(model: nn.Module, optimizer: FlatAdamW) -> None:
        model(batch).pow(2).sum().backward()
        optimizer.step(0.5)
        optimizer.forget()

    for _ in range(3):
        update(whole, steady)
        update(parts, broken)
    state, again = {k: v.clone() for k, v in broken.state().items()}, copy.deepcopy(network())
    again.load_state_dict(parts.state_dict())
    resumed = FlatAdamW(groups(again))
    resumed.load_state(state)
    for _ in range(3):
        update(whole, steady)
        update(again, resumed)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_released_parameters_own_their_memory() -> None:
    model = network()
    FlatAdamW(groups(model)).release()
    pointers = {p.untyped_storage().data_ptr() for p in model.parameters()}
    assert len(pointers) == len(list(model.parameters()))


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        FlatAdamW([{"params": [nn.Parameter(torch.ones(2), requires_grad=False)], "lr": 0.1}])


@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
def test_the_learning_rate_rises_to_its_peak_and_then_follows_the_schedule(name: str) -> None:
    share = schedule(name, total=100, warmup=0.1)
    values = [share(step) for step in range(100)]
    assert values[:10] == sorted(values[:10])
    assert 0 < values[0] < 0.2
    assert values[10] == max(values) == pytest.approx(1.0)
    falling = values[10:]
    assert falling == sorted(falling, reverse=True)
    assert values[99] == pytest.approx(1.0 if name == "constant" else 0.0, abs=0.02)
