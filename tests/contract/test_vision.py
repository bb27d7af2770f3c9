"""Vision models from end to end: roles of every architecture, and what each method promises on images."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
import toys
from safetensors.torch import load_file

from engine import breakdown, merge, methods, models, roles, skeleton, tiny
from engine import events as happened
from engine import spec as specs
from engine.control import Control
from engine.events import Event
from engine.export import readme
from engine.predict import Player
from engine.shape import ModelShape
from engine.spec import RunSpec
from engine.train import run

pytestmark = pytest.mark.usefixtures("one_thread")

FOUR = ("query", "key", "value", "output")
PLAIN, GATED = Counter((*FOUR, "up", "down")), Counter((*FOUR, "up", "gate", "down"))
FUSED = Counter(("qkv", "output", "up", "down"))
#: Architecture -> the roles of the linear layers of one block; of a decoder's block where it differs.
TABLE: dict[str, tuple[Counter[str], Counter[str]] | Counter[str]] = {
    "bert": PLAIN, "roberta": PLAIN, "electra": PLAIN, "albert": PLAIN, "mpnet": PLAIN, "distilbert": PLAIN,
    "deberta-v2": PLAIN, "opt": PLAIN, "modernbert": Counter(("qkv", "output", "gate_up", "down")),
    **dict.fromkeys(("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "mistral"), GATED),
    "phi3": Counter(("qkv", "output", "gate_up", "down")),
    "gpt2": FUSED, "gpt_neox": FUSED, "bloom": FUSED,
    "t5": (PLAIN, PLAIN + Counter(FOUR)), "mt5": (GATED, GATED + Counter(FOUR)),
    "bart": (PLAIN, PLAIN + Counter(FOUR)), **dict.fromkeys(tiny.VISION, PLAIN)}
METHODS: dict[str, dict[str, Any]] = {
    "head": {"name": "head"}, "full": {"name": "full"}, "lora": {"name": "lora", "r": 4},
    "bitfit": {"name": "bitfit"}, "ssf": {"name": "ssf"}, "vpt deep": {"name": "vpt", "length": 3},
    "vpt shallow": {"name": "vpt", "length": 3, "deep": False, "dropout": 0.1},
    "vpt patches": {"name": "vpt", "length": 3, "start": "patches"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with images."""
    root = tmp_path_factory.mktemp("vision")
    pictures.archive(root)
    return root


def plan(place: Path, method: dict[str, Any], model: str = "vit", **training: Any) -> RunSpec:
    return specs.parse({
        "task": "image_classification", "model": {"id": str(tiny.folder(model, place))},
        "data": {"train": str(place / "pictures.zip")}, "method": method,
        "training": {"epochs": 3, "batch_size": 8, "seed": 5, "precision": "fp32"} | training})


def saved(out: Path) -> Path:
    return next(out / kind for kind in ("adapter", "model") if (out / kind).is_dir())


def losses(out: Path) -> list[float]:
    lines = (out / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event["metrics"]["loss"] for event in map(json.loads, lines) if event["event"] == "Evaluated"]


# -- roles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tiny.SMALL)
def test_every_linear_layer_of_every_block_has_its_role(name: str) -> None:
    shape = skeleton.shape_of(tiny.configuration(name))
    expected = TABLE[name] if isinstance(TABLE[name], tuple) else (TABLE[name], TABLE[name])
    for layer in range(shape.layers):
        found = Counter(m.role for m in shape.modules if m.layer == layer and m.kind == "linear")
        assert found == expected[layer >= shape.layers // 2], layer
        assert any(m.role == "norm" for m in shape.modules if m.layer == layer)
    assert any(m.role == "embedding" for m in shape.modules if m.layer is None)
    assert len(shape.linear()) == sum(sum(expected[layer >= shape.layers // 2].values())
                                      for layer in range(shape.layers))


def test_a_model_nobody_has_seen_falls_back_to_all_linear_layers_by_name() -> None:
    things = [torch.nn.ModuleDict({"alpha": torch.nn.Linear(8, 8), "beta": torch.nn.Linear(8, 12)}) for _ in range(2)]
    odd = torch.nn.ModuleDict({"stem": torch.nn.Linear(4, 8), "things": torch.nn.ModuleList(things)})
    shape = ModelShape(architecture="Odd", model_type="odd", family="encoder", total=0, layers=2, hidden=8,
                       modules=roles.modules(odd, ""))
    assert [m.name for m in shape.linear()] == ["things.0.alpha", "things.0.beta", "things.1.alpha", "things.1.beta"]
    lora: Any = methods.get("lora")
    assert lora(name="lora", r=2).trainable(shape) == 2 * 2 * (8 + 8 + 8 + 12)
    assert [piece.module for piece in lora(name="lora", targets=["alpha"]).pieces(shape)] == [
        "things.0.alpha", "things.1.alpha"]


# -- visual prompts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("deep", "expected"), [(True, 12 * 50 * 768), (False, 50 * 768)])
def test_the_count_of_visual_prompts_is_the_papers(deep: bool, expected: int) -> None:
    from transformers import ViTConfig

    shape = skeleton.shape_of(ViTConfig())
    found = methods.get("vpt")(name="vpt", length=50, deep=deep)
    assert found.trainable(shape) == found.stored(shape) == expected


@pytest.mark.parametrize(("name", "word"), [("swin", "width"), ("beit", "grid"), ("bert", "reads text")])
def test_visual_prompts_are_refused_where_they_have_no_place(name: str, word: str) -> None:
    shape = skeleton.shape_of(tiny.configuration(name))
    reasons = methods.get("vpt")(name="vpt").obstacles(shape, "image_classification", None)
    assert len(reasons) == 1 and word in reasons[0]


@pytest.mark.parametrize("model", ["vit", "deit", "dinov2"])
def test_prompts_stand_after_the_class_token_and_no_head_sees_them(model: str, place: Path) -> None:
    """What the wrapped model gives out is what the blocks make of [class, prompts, patches], the prompts taken out."""
    task = plan(place, {"name": "vpt"}).make_task()
    for deep in (True, False):
        torch.manual_seed(0)
        loaded = models.load(tiny.folder(model, place), task, ["a", "b"])
        base: Any = loaded.model.eval()
        inside: Any = base.base_model
        blocks = base.get_submodule(roles.blocks(base)[0].name)
        pixels = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            before, tokens = base(pixel_values=pixels).logits, inside.embeddings(pixels)
        plain = list(blocks)
        method = methods.get("vpt")(name="vpt", length=4, deep=deep)
        model_: Any = method.attach(base, loaded.shape, loaded.heads)
        model_.eval()
        prompts = [p for n, p in model_.named_parameters() if "vpt_prompt" in n]
        learned = {n.split(".")[-2] for n, p in model_.named_parameters() if p.requires_grad and "vpt_prompt" not in n}
        assert learned == {"default"}, "nothing but prompts and the head's own copy learns"
        assert len(prompts) == (2 if deep else 1)
        patch = tiny.IMAGE["patch_size"]
        assert float(prompts[0].detach().abs().max()) <= (6 / (3 * patch * patch + 32)) ** 0.5
        with torch.no_grad():
            found = inside(pixel_values=pixels).last_hidden_state
            hidden = tokens
            for i, block in enumerate(plain):
                rest = hidden[:, 1:] if i == 0 else hidden[:, 5:]
                prompt = prompts[i].expand(2, -1, -1) if deep or i == 0 else hidden[:, 1:5]
                hidden = block(torch.cat([hidden[:, :1], prompt, rest], 1))
            expected = inside.layernorm(torch.cat([hidden[:, :1], hidden[:, 5:]], 1))
            with model_.disable_adapter():
                assert torch.equal(model_(pixel_values=pixels).logits, before)
        assert torch.allclose(found, expected, atol=1e-6)
        assert not torch.equal(model_(pixel_values=pixels).logits, before)


@pytest.mark.parametrize("deep", [True, False])
def test_prompts_start_from_patches_as_their_block_sees_them(deep: bool, place: Path) -> None:
    task = plan(place, {"name": "vpt"}).make_task()
    torch.manual_seed(0)
    loaded = models.load(tiny.folder("dinov2", place), task, ["a", "b"])
    base: Any = loaded.model.eval()
    pixels = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        hidden = [base.base_model.embeddings(pixels)]
        for block in base.get_submodule(roles.blocks(base)[0].name):
            hidden.append(block(hidden[-1]))
    method = methods.get("vpt")(name="vpt", length=5, deep=deep, start="patches")
    assert method.needs_data and not methods.get("vpt")(name="vpt").needs_data
    wrapped = method.attach(base, loaded.shape, loaded.heads).train()
    method.initialise(wrapped, [{"pixel_values": pixels[:2]}, {"pixel_values": pixels[2:]}])
    assert wrapped.training
    prompts = [p.detach() for n, p in wrapped.named_parameters() if "vpt_prompt" in n]
    assert len(prompts) == (2 if deep else 1)
    for prompt, tokens in zip(prompts, hidden, strict=False):
        apart = torch.cdist(prompt, tokens[:, 1:].flatten(0, 1))
        assert float(apart.min(1).values.max()) < 1e-2
        assert len(set(apart.argmin(1).tolist())) == len(prompt) == 5


def test_every_method_that_takes_images_trains_what_it_foresees(place: Path) -> None:
    task = plan(place, {"name": "head"}).make_task()
    path = tiny.folder("vit", place)
    shape = models.inspect(path).for_task(task.name)
    batch = {"pixel_values": torch.randn(4, 3, 32, 32)}
    taken: set[str] = set()
    for name, kind in methods.every().items():
        method = kind.model_validate({"name": name})
        if method.obstacles(shape, task.name, None):
            continue
        loaded = models.load(path, task, ["a", "b"], shape=models.inspect(path))
        wrapped: Any = method.attach(loaded.model, loaded.shape, loaded.heads)
        if method.needs_data:
            method.initialise(wrapped, [batch])
        wrapped.train()(**batch).logits.square().sum().backward()
        learned = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
        assert learned == method.trainable(loaded.shape) + loaded.shape.head_parameters(task.name, 2), name
        taken.add(name)
    assert {"lora", "head", "full", "bitfit", "ssf", "vpt"} <= taken


# -- every method on images ------------------------------------------------------------------------------------------

FRESH = """
import json, sys, torch
import engine.tuners
from peft import PeftModel
from transformers import AutoModelForImageClassification as Auto
found = {}
torch.manual_seed(1)
pixels = torch.randn(2, 3, 32, 32)
for name, base, folder in json.loads(sys.argv[1]):
    whole = folder.endswith("model")
    model = Auto.from_pretrained(folder if whole else base, dtype=torch.float32, **({} if whole else {"num_labels": 2}))
    model = model if whole else PeftModel.from_pretrained(model, folder)
    with torch.no_grad():
        found[name] = model.eval()(pixel_values=pixels).logits.flatten().tolist()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def done(place: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Every method's run on the images: its folder and result."""
    torch.set_num_threads(1)
    return {name: (place / name, run(plan(place, method, learning_rate=5e-3), place / name))
            for name, method in METHODS.items()}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_counts_and_stores_what_it_says(name: str, place: Path,
                                                        done: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    out, found = done[name]
    assert found["state"] == "succeeded"
    assert {"accuracy", "f1", "loss"} <= set(found["metrics"])
    assert losses(out)[-1] < losses(out)[0]
    shape = models.inspect(tiny.folder("vit", place))
    preview = breakdown.of(plan(place, METHODS[name]), shape, 2).parameters
    assert found["parameters"]["trained"] == preview.trained
    stored = load_file(saved(out) / ("adapter_model.safetensors" if saved(out).name == "adapter" else
                                     "model.safetensors"))
    assert sum(tensor.numel() for tensor in stored.values()) == preview.stored
    assert (saved(out) / "preprocessor_config.json").is_file()
    examples = json.loads((out / "examples.json").read_text(encoding="utf-8"))
    assert len(examples["best"]) + len(examples["worst"]) == 2


def test_all_methods_load_in_a_fresh_process_with_the_same_answers(
        place: Path, done: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    base = tiny.folder("vit", place)
    asked = [(name, str(base), str(saved(out))) for name, (out, _) in done.items()]
    process = subprocess.run([sys.executable, "-c", FRESH, json.dumps(asked)], capture_output=True, text=True,
                             cwd=toys.ROOT, check=False)
    assert process.returncode == 0, process.stderr
    fresh = json.loads(process.stdout.splitlines()[-1])
    player = Player(base, "image_classification", dtype="fp32", device="cpu")
    torch.manual_seed(1)
    pixels = torch.randn(2, 3, 32, 32)
    for name, (out, _) in done.items():
        player.attach(name, saved(out))
        with torch.no_grad():
            here = player._members[name].model(pixel_values=pixels).logits.flatten()
        assert torch.allclose(here, torch.tensor(fresh[name]), atol=1e-6), name


def test_an_adapter_merges_into_a_model_that_needs_no_peft(
        place: Path, tmp_path: Path, done: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    base = tiny.folder("vit", place)
    pixels = torch.randn(2, 3, 32, 32)
    player = Player(base, "image_classification", dtype="fp32", device="cpu")
    for name in ("lora", "bitfit", "ssf"):
        merged = merge.merge(saved(done[name][0]), base, tmp_path / name, task_name="image_classification")
        assert (merged / "preprocessor_config.json").is_file()
        player.attach(name, saved(done[name][0]))
        player.attach(f"{name} merged", merged)
        with torch.no_grad():
            one, two = (player._members[key].model(pixel_values=pixels).logits for key in (name, f"{name} merged"))
        assert torch.allclose(one, two, atol=1e-5), name
    with pytest.raises(merge.NotMergeable):
        merge.merge(saved(done["vpt deep"][0]), base, tmp_path / "vpt", task_name="image_classification")


def test_an_exported_adapter_says_how_it_is_asked(place: Path, done: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    """The README's own lines, run as they stand but for the base model's folder and the picture."""
    for name in ("lora", "vpt deep", "head"):
        out = saved(done[name][0])
        facts = readme.Facts(name="x", kind=out.name, task="image_classification", base="org/base", local=False,
                             labels=("bluish", "reddish"), own_tuner=name.startswith("vpt"))
        lines = [*readme.load_lines(facts), *readme.ask_lines(facts)]
        script = "\n".join(lines).replace('"x"', repr(str(out))).replace(
            '"org/base"', repr(str(tiny.folder("vit", place)))).replace(
            '"your picture.jpg"', repr(str(place / "pictures" / "reddish" / "reddish 1.png")))
        told: list[dict[str, float]] = []
        exec(script, {"print": told.append})
        assert set(told[0]) == {"bluish", "reddish"}
        assert sum(told[0].values()) == pytest.approx(1)


def test_the_player_classifies_paths_and_bytes(place: Path, done: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    player = Player(tiny.folder("vit", place), "image_classification", dtype="fp32", device="cpu")
    player.attach("lora", saved(done["lora"][0]))
    path = place / "pictures" / "reddish" / "reddish 1.png"
    answers = player.respond(["lora", None], [{"image": str(path)}, {"image": path.read_bytes()}])
    (by_path, by_bytes), base = (one["replies"] for one in answers)
    assert by_path == by_bytes
    assert set(by_path["scores"]) == {"bluish", "reddish"}
    assert sum(by_path["scores"].values()) == pytest.approx(1)
    assert "no head trained" in base[0]["note"]


def stop_at(step: int) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, happened.CheckpointSaved) and event.step == step:
            Control.request("interrupt")

    return listen


@pytest.mark.parametrize("name", ["vpt shallow", "lora"])
def test_a_resumed_run_ends_with_the_same_bytes(name: str, place: Path, tmp_path: Path) -> None:
    spec = plan(place, METHODS[name], checkpoint_every=3)
    whole = run(spec, tmp_path / "whole")
    assert run(spec, tmp_path / "parts", on_event=stop_at(3))["state"] == "interrupted"
    again = run(spec, tmp_path / "parts")
    assert whole["metrics"] == again["metrics"]
    one, two = ((saved(tmp_path / each) / "adapter_model.safetensors").read_bytes() for each in ("whole", "parts"))
    assert one == two


@pytest.mark.parametrize("model", ["beit", "swin"])
def test_other_vision_models_learn_too(model: str, place: Path, tmp_path: Path) -> None:
    found = run(plan(place, METHODS["lora"], model, learning_rate=1e-2), tmp_path / model)
    assert found["state"] == "succeeded"
    assert losses(tmp_path / model)[-1] < losses(tmp_path / model)[0]


def test_gradient_checkpointing_and_accumulation_change_nothing_in_what_prompts_learn(
        place: Path, tmp_path: Path) -> None:
    results = [run(plan(place, METHODS["vpt deep"], max_steps=3, **how), tmp_path / str(i))["metrics"]["loss"]
               for i, how in enumerate(({}, {"gradient_checkpointing": True},
                                        {"batch_size": 4, "gradient_accumulation": 2}))]
    assert results[1:] == pytest.approx([results[0]] * 2, rel=1e-5)


def test_an_image_model_without_its_processor_is_refused(place: Path, tmp_path: Path) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(tiny.folder("vit", place), bare)
    (bare / "preprocessor_config.json").unlink()
    spec = plan(place, METHODS["head"])
    refused = spec.model_copy(update={"model": spec.model.model_copy(update={"id": str(bare)})})
    from engine.images import NoProcessor

    with pytest.raises(NoProcessor):
        run(refused, tmp_path / "out")
