"""One batch, several tasks: each row is read with the prompt, and judged by the head, of its own adapter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from prompted import METHODS, Made, inputs

ROWS = torch.tensor([[5, 9, 17, 33, 60, 21, 3], [5, 9, 17, 3, 0, 0, 0], [7, 11, 29, 8, 3, 0, 0]])


def made_with_two(root: Path, name: str, task: str, method: str = "prompt") -> Made:
    made = Made(root, name, task, METHODS[method])
    torch.manual_seed(7)
    made.model.add_adapter("other", made.model.peft_config["default"])
    made.model.eval()
    return made


@pytest.mark.parametrize(("name", "task"), [("bert", "text_classification"), ("llama", "causal_lm"),
                                            ("t5", "seq2seq")])
def test_a_mixed_batch_says_what_each_adapter_says_alone(name: str, task: str, tmp_path: Path) -> None:
    made = made_with_two(tmp_path, name, task)
    alone: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for adapter in ("default", "other"):
            made.model.set_adapter(adapter)
            alone[adapter] = made.model(**inputs(task, ROWS)).logits
        made.model.set_adapter("default")
        names = ["other", "default", "other"]
        mixed = made.model(**inputs(task, ROWS), adapter_names=names).logits
        after = made.model(**inputs(task, ROWS)).logits
    assert not torch.allclose(alone["default"], alone["other"])
    for row, adapter in enumerate(names):
        assert torch.allclose(mixed[row], alone[adapter][row], atol=1e-5)
    assert torch.equal(after, alone["default"]), "the routing ends with the call"


def test_rows_cannot_be_routed_to_what_is_not_there_or_does_not_fit(tmp_path: Path) -> None:
    made = made_with_two(tmp_path, "bert", "text_classification")
    with pytest.raises(ValueError, match="no prompt 'third'; known are default, other"):
        made.model(**inputs("text_classification", ROWS), adapter_names=["default", "third", "other"])
    made.model.add_adapter("longer", Made(tmp_path, "bert", "text_classification",
                                          METHODS["prompt"] | {"length": 5}).model.peft_config["default"])
    with pytest.raises(ValueError, match="several lengths"):
        made.model(**inputs("text_classification", ROWS), adapter_names=["default", "longer", "other"])
    made.model.train()
    with pytest.raises(ValueError, match="not while training"):
        made.model(**inputs("text_classification", ROWS), adapter_names=["default", "other", "other"])
