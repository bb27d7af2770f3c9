"""Methods on our own tuners, and layer tuning: what they learn is counted, kept and loaded exactly on every model."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from safetensors.torch import load_file, save_file
from test_counts import numbers_on_disk
from torch.nn import functional as F

from engine import adapter, breakdown, models, tiny
from engine import spec as specs
from engine.methods.base import Method
from engine.shape import ModelShape

TEXT, CHAT = "text_classification", "causal_lm"
LABELS = ["a", "b", "c"]
HOULSBY, PFEIFFER = {"name": "adapter", "reduction": 8}, {"name": "adapter", "placement": "pfeiffer", "size": 3}
BRANCH = {"name": "adaptformer", "size": 4}
SPARSE = {"name": "diff_pruning", "density": 0.05}
UNIFORM, ROWS = ({"name": "bitfit", "control": control} for control in ("random_uniform", "random_rows"))
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "layers": ("bert", TEXT, {"name": "layers", "top": 1}),
    "layers of a decoder": ("llama", CHAT, {"name": "layers", "top": 1, "above": False}),
    "layers of a pair": ("bart", TEXT, {"name": "layers", "top": 1}),
    "bitfit": ("bert", TEXT, {"name": "bitfit"}),
    "bitfit without biases": ("llama", CHAT, {"name": "bitfit"}),
    "bitfit of shared blocks": ("albert", TEXT, {"name": "bitfit"}),
    "query": ("bert", TEXT, {"name": "bitfit", "biases": "query"}),
    "query in one matrix": ("gpt2", CHAT, {"name": "bitfit", "biases": "query+intermediate"}),
    "query by head": ("gpt_neox", CHAT, {"name": "bitfit", "biases": "query"}),
    "uniform": ("bert", TEXT, UNIFORM), "uniform of a decoder": ("llama", CHAT, UNIFORM),
    "rows": ("gpt2", CHAT, ROWS),
    "houlsby": ("bert", TEXT, HOULSBY), "houlsby with norms": ("llama", CHAT, HOULSBY | {"norms": True}),
    "houlsby of a pair": ("t5", TEXT, HOULSBY), "pfeiffer": ("gpt2", CHAT, PFEIFFER),
    "branch": ("bert", TEXT, BRANCH), "branch of shared blocks": ("albert", TEXT, BRANCH),
    "branch that learns its scale": ("modernbert", TEXT, BRANCH | {"learned": True}),
    "branch of a gated decoder": ("phi3", CHAT, BRANCH),
    "sparse": ("bert", TEXT, SPARSE), "sparse without groups": ("gpt2", CHAT, SPARSE | {"structured": False}),
    "sparse with embeddings": ("bert", TEXT, SPARSE | {"embeddings": True}),
    "ssf": ("bert", TEXT, {"name": "ssf"}), "ssf of a decoder": ("gpt2", CHAT, {"name": "ssf"}),
}
#: Bias and shift have no place in layers that only scale.
HOMELESS = {"bitfit without biases"}


@dataclass
class Learned:
    """A method after a few updates: what was foreseen, what happened, what was saved."""

    method: Method
    model: Any
    folder: Path
    load: Callable[[], Any]
    ids: torch.Tensor
    foreseen: Any
    trained: int
    held: int
    moved: float
    losses: list[float]
    changed: list[str]
    logits: torch.Tensor


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tiny models and what was learned on them lie."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def learned(folders: Path) -> Callable[[str], Learned]:
    """Every case, trained once."""
    done: dict[str, Learned] = {}

    def get(name: str) -> Learned:
        if name not in done:
            done[name] = train(name, folders)
        return done[name]

    return get


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Compute on one thread, and say nothing about it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(threads)


def plan(task: str, method: dict[str, Any]) -> specs.RunSpec:
    return specs.parse({"task": task, "model": {"id": "any"}, "data": {"train": "rows.csv"}, "method": method})


def loud(architecture: str, folders: Path) -> Path:
    """Return a tiny model whose matrices are ten times larger, so that small changes inside it show outside."""
    path = folders / "loud" / architecture
    if not path.exists():
        shutil.copytree(tiny.folder(architecture, folders), path)
        weights = load_file(path / "model.safetensors")
        save_file({name: 10 * value if value.dim() == 2 and "emb" not in name else value
                   for name, value in weights.items()}, path / "model.safetensors", metadata={"format": "pt"})
    return path


def loader(path: Path, task: str, shape: ModelShape) -> Callable[[], Any]:
    """Return a function that loads the model of `task` in `path`, always the same."""

    def load() -> Any:
        torch.manual_seed(0)
        loaded = models.load(path, plan(task, {"name": "full"}).make_task(), LABELS if task == TEXT else [],
                             shape=shape)
        loaded.model.config.pad_token_id = 0
        loaded.model.eval()
        return loaded

    return load


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits.clone()


def loss_of(model: Any, ids: torch.Tensor, task: str) -> torch.Tensor:
    found = model(input_ids=ids).logits
    if task == TEXT:
        return F.cross_entropy(found, torch.tensor([0, 2]))
    return F.cross_entropy(found[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def update(method: Method, model: Any, ids: torch.Tensor, task: str, steps: int = 4) -> tuple[list[float], int]:
    """Make `steps` updates without dropout; return the losses and how many numbers the optimizer held."""
    optimizer = torch.optim.AdamW(method.groups(model, 1e-2, 0.0))
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    losses: list[float] = []
    for step in range(steps):
        method.before_update(model, step, steps)
        loss = loss_of(model, ids, task)
        loss.backward()
        if (penalty := method.penalty(model)) is not None:
            penalty.backward()
        optimizer.step()
        method.after_update(model, step, steps)
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses, sum(p.numel() for group in optimizer.param_groups for p in group["params"])


def train(name: str, folders: Path) -> Learned:
    architecture, task, settings = CASES[name]
    path, run = loud(architecture, folders), plan(task, settings)
    shape = models.inspect(path)
    load = loader(path, task, shape)
    assert run.method.obstacles(shape.for_task(task), task, None) == []
    loaded, stored = load(), load().model
    last = int(loaded.model.config.eos_token_id or 1) % 400
    ids = torch.tensor([[5, 9, 17, 33, 60, last], [7, 13, 8, 11, 12, last]])
    before = logits(loaded.model, ids)
    model = run.method.attach(loaded.model, loaded.shape, loaded.heads)
    moved = float((logits(model, ids) - before).abs().max())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    losses, held = update(run.method, model, ids, task)
    own = dict(stored.named_parameters())
    changed = [n for n, p in model.named_parameters() if not p.requires_grad and (m := plain(n)) in own
               and not torch.equal(p, own[m])]
    run.method.conclude(model)
    folder = folders / "learned" / name.replace(" ", "-")
    after = logits(model, ids)
    assert (after - before).abs().max() > 1e-2
    run.method.save(model, folder)
    return Learned(run.method, model, folder, load, ids, breakdown.of(run, shape, 3 if task == TEXT else 0).parameters,
                   trained, held, moved, losses, changed, after)


def plain(name: str) -> str:
    """Return the name that a parameter of a wrapped model has in the model alone."""
    return name.removeprefix("base_model.model.").replace("base_layer.", "").replace("original_module.", "")


def kept() -> list[str]:
    """Return the cases that are saved as adapters."""
    return [name for name, case in CASES.items() if case[2]["name"] != "layers"]


@pytest.mark.parametrize("name", CASES)
def test_counts_frozen_bytes_start_and_loss(name: str, learned: Callable[[str], Learned]) -> None:
    case = learned(name)
    assert case.foreseen.trained == case.trained == case.held
    assert case.foreseen.stored == numbers_on_disk(case.folder)
    assert case.changed == []
    assert case.moved == 0.0
    assert case.losses[2] < case.losses[1] < case.losses[0]


@pytest.mark.parametrize("name", kept())
def test_adapters_live_side_by_side_on_one_base(name: str, learned: Callable[[str], Learned]) -> None:
    case = learned(name)
    base = case.load().model
    own = {n: p.detach().clone() for n, p in base.named_parameters()}
    plain_logits = logits(base, case.ids)
    twin = adapter.attach(base, adapter.read(case.folder), task_name=CASES[name][1])
    assert torch.allclose(logits(twin, case.ids), case.logits, atol=1e-6)
    copied = copy.deepcopy(twin)
    copied.load_adapter(str(case.folder), adapter_name="other")
    copied.set_adapter("other")
    assert torch.allclose(logits(copied, case.ids), case.logits, atol=1e-6)
    if CASES[name][1] == CHAT:
        with copied.disable_adapter():
            assert torch.allclose(logits(copied, case.ids), plain_logits, atol=1e-6)
    copied.delete_adapter("default")
    assert torch.allclose(logits(copied, case.ids), case.logits, atol=1e-6)
    assert not [n for n in copied.state_dict() if n.endswith(".default") or ".default." in n]
    assert all(torch.equal(p, own[n]) for n, p in base.named_parameters())


@pytest.mark.parametrize("name", [n for n in kept() if CASES[n][2]["name"] in ("bitfit", "ssf", "diff_pruning")])
def test_merged_it_computes_the_same_and_unmerged_it_is_as_before(name: str, learned: Callable[[str], Learned]) -> None:
    case = learned(name)
    model = adapter.attach(case.load().model, adapter.read(case.folder), share=False, task_name=CASES[name][1])
    own = {n: p.detach().clone() for n, p in model.named_parameters() if "base_layer" in n}
    if name in HOMELESS:
        with pytest.raises(ValueError, match="no place for a bias"):
            model.merge_adapter()
    else:
        model.merge_adapter()
        assert torch.allclose(logits(model, case.ids), case.logits, atol=1e-5)
        assert any(not torch.equal(p, own[n]) for n, p in model.named_parameters() if n in own)
        model.unmerge_adapter()
    assert torch.allclose(logits(model, case.ids), case.logits, atol=1e-5)
    now = dict(model.named_parameters())
    assert all(torch.allclose(value, now[n], atol=1e-5) for n, value in own.items())
    if name not in HOMELESS:
        assert torch.allclose(logits(model.merge_and_unload(), case.ids), case.logits, atol=1e-5)


@pytest.mark.parametrize("name", ["houlsby", "branch"])
def test_what_bends_is_not_merged(name: str, learned: Callable[[str], Learned]) -> None:
    case = learned(name)
    model = adapter.attach(case.load().model, adapter.read(case.folder), share=False, task_name=TEXT)
    with pytest.raises(ValueError, match="not a change of weights"):
        model.merge_and_unload()


FRESH = """
import json, sys, torch
import engine.tuners
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
found = {}
for name, base, folder, chat, ids in json.loads(sys.argv[1]):
    Auto = AutoModelForCausalLM if chat else AutoModelForSequenceClassification
    source = base if base else folder
    model = Auto.from_pretrained(source, dtype=torch.float32, **({} if chat else {"num_labels": 3}))
    model.config.pad_token_id = 0
    model = (PeftModel.from_pretrained(model, folder) if base else model).eval()
    with torch.no_grad():
        found[name] = model(input_ids=torch.tensor(ids)).logits.flatten().tolist()
assert not [name for name in sys.modules if name.startswith(("engine.methods", "engine.models"))]
print(json.dumps(found))
"""


def test_a_process_that_knows_our_tuners_alone_gets_the_same_logits(
        folders: Path, learned: Callable[[str], Learned]) -> None:
    asked = []
    for name, (architecture, task, settings) in CASES.items():
        base = "" if settings["name"] == "layers" else str(loud(architecture, folders))
        asked.append((name, base, str(learned(name).folder), task == CHAT, learned(name).ids.tolist()))
    done = subprocess.run([sys.executable, "-c", FRESH, json.dumps(asked)], capture_output=True, text=True,
                          cwd=toys.ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for name in CASES:
        assert found[name] == pytest.approx(learned(name).logits.flatten().tolist(), abs=1e-5), name
