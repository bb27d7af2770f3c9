"""Combined adapters equal the dense arithmetic they stand for, and what does not fit together is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_adapters as made
import numpy as np
import pyarrow as pa
import pytest

from engine import adapter, cma, compose, lorahub, parents
from engine.composed import Composed
from engine.errors import Cancelled, Refused, SpecError
from engine.recipe import WAYS, Recipe, parse

LABELS = ["a", "b", "c"]
TEXT = "Once upon a time there was a little dog"
LAYER = "base_model.model.bert.encoder.layer.1.attention.self.value"


@pytest.fixture(scope="module")
def bert(shared: Path) -> Path:
    return shared / "models" / "bert-tiny"


@pytest.fixture(scope="module")
def pair(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters of one rank on one base with one set of labels."""
    folder = tmp_path_factory.mktemp("pair")
    return [made.make(folder / name, bert, made.CLASSIFY, LABELS, seed=seed, columns={"text": "text", "label": "label"})
            for seed, name in enumerate(("one", "two"), 1)]


def lora(folder: Path, base: Path, seed: int = 3, **settings: Any) -> Path:
    from peft import LoraConfig

    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": made.TARGETS[made.CLASSIFY]} | settings)
    return made.make(folder, base, made.CLASSIFY, LABELS, seed=seed, config=config)


def dense(folder: Path) -> dict[str, Any]:
    """Return each layer's whole update as peft itself would add it to the weights."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "adapter_model.safetensors")
    (parent,) = parents.read([folder], ["x"])
    return {module: parent.scale(module) * tensors[f"base_model.model.{module}.lora_B.weight"]
            @ tensors[f"base_model.model.{module}.lora_A.weight"] for module in parent.ranks}


def furthest(found: dict[str, Any], expected: Callable[[str], Any]) -> float:
    return max(float((found[module] - expected(module)).abs().max()) for module in found)


def logits(folder: Path, base: Path) -> Any:
    import torch

    model, tokenizer = made.plain(folder, base, made.CLASSIFY, LABELS)
    with torch.inference_mode():
        return model(**tokenizer(TEXT, return_tensors="pt")).logits.flatten()


def combine(folders: list[Path], out: Path, how: str, **settings: Any) -> Composed:
    return compose.compose(folders, out, Recipe.model_validate({"how": how} | settings))


def test_the_exact_sum_equals_the_sum_of_the_updates_whatever_their_ranks_scales_and_layers(
        bert: Path, pair: list[Path], tmp_path: Path) -> None:
    other = lora(tmp_path / "other", bert, r=2, use_rslora=True, target_modules=["query", "output.dense"],
                 rank_pattern={"query": 6}, alpha_pattern={"output.dense": 3})
    made_ = combine([*pair, other], tmp_path / "cat", "cat", weights=[0.7, -0.4, 1.2], heads="first")
    parts = [dense(folder) for folder in (*pair, other)]
    assert set(dense(made_.folder)) == set().union(*parts)

    def expected(module: str) -> Any:
        return sum(weight * part[module] for weight, part in zip((0.7, -0.4, 1.2), parts, strict=True)
                   if module in part)

    assert furthest(dense(made_.folder), expected) < 1e-6
    # Plain peft computes the same: base logits plus what merging each by hand would give.
    assert logits(made_.folder, bert).shape == (3,)
    config = json.loads((made_.folder / "adapter_config.json").read_text())
    assert config["use_rslora"] is False and made_.rank == 4 + 4 + 6


@pytest.mark.parametrize("how", ["linear", "ties", "dare_linear", "dare_ties", "magnitude_prune", "cat", "svd",
                                 "ties_svd"])
def test_each_way_gives_what_pefts_own_combination_gives(how: str, bert: Path, tmp_path: Path) -> None:
    """peft's own cannot combine adapters with heads, so these have none."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModel

    base: Any = AutoModel.from_pretrained(bert, dtype=torch.float32)
    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = get_peft_model(AutoModel.from_pretrained(bert, dtype=torch.float32),
                               LoraConfig(r=4, lora_alpha=6 * seed, target_modules=["query"]))
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn_like(parameter)
        model.save_pretrained(tmp_path / str(seed))
        folders.append(tmp_path / str(seed))
    weights, random = [0.8, -0.5], how.startswith("dare")
    density = 1.0 if random else 0.4
    with pytest.warns() if random else _nothing():
        made_ = combine(folders, tmp_path / "ours", how, weights=weights, density=density, rank=4)
    loaded: Any = PeftModel.from_pretrained(base, str(folders[0]), adapter_name="0")
    loaded.load_adapter(str(folders[1]), "1")
    with pytest.warns() if random else _nothing():
        loaded.add_weighted_adapter(["0", "1"], weights, "theirs", combination_type=how, svd_rank=4, density=density)
    for module, update in dense(made_.folder).items():
        theirs = loaded.base_model.model.get_submodule(module).get_delta_weight("theirs")
        assert float((update - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def test_linear_mixes_the_factors_with_the_roots_of_weight_and_scale(pair: list[Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    made_ = combine(pair, tmp_path / "linear", "linear", weights=[0.5, -0.25])
    files = [load_file(folder / "adapter_model.safetensors") for folder in pair]
    roots = [math.sqrt(2 * 0.5), math.sqrt(2 * 0.25)]
    down = roots[0] * files[0][f"{LAYER}.lora_A.weight"] - roots[1] * files[1][f"{LAYER}.lora_A.weight"]
    up = roots[0] * files[0][f"{LAYER}.lora_B.weight"] + roots[1] * files[1][f"{LAYER}.lora_B.weight"]
    found = dense(made_.folder)[LAYER.removeprefix("base_model.model.")]
    assert float((found - up @ down).abs().max()) < 1e-6


def test_the_closest_of_a_small_rank_is_the_best_there_is(pair: list[Path], tmp_path: Path) -> None:
    import torch

    parts = [dense(folder) for folder in pair]
    found = dense(combine(pair, tmp_path / "svd", "svd", weights=[1.0, 0.5], rank=3).folder)
    for module, update in found.items():
        exact = parts[0][module] + 0.5 * parts[1][module]
        values = torch.linalg.svdvals(exact.double())
        assert float((exact - update).double().norm()) == pytest.approx(float(values[3:].norm()), rel=1e-5)
        assert int(torch.linalg.matrix_rank(update, atol=1e-6)) == 3
    whole = combine(pair, tmp_path / "whole", "svd", weights=[1.0, 0.5], rank=64)
    assert whole.rank == 8, "more than the parts have together is not stored"
    assert furthest(dense(whole.folder), lambda module: parts[0][module] + 0.5 * parts[1][module]) < 1e-6


def test_ties_on_whole_updates_keeps_the_largest_and_averages_those_that_agree(
        pair: list[Path], tmp_path: Path) -> None:
    import torch

    found = dense(combine(pair, tmp_path / "ties", "ties_svd", weights=[1.0, 1.0], density=0.3, rank=4096).folder)
    parts = [dense(folder) for folder in pair]
    for module, update in found.items():
        kept = []
        for part in parts:
            flat = part[module].flatten()
            least = flat.abs().sort(descending=True).values[int(0.3 * len(flat)) - 1]
            kept.append(torch.where(part[module].abs() >= least, part[module], 0.0))
        stacked = torch.stack(kept)
        sign = torch.where(stacked.sum(0) >= 0, 1, -1)
        agree = stacked.sign() == sign
        expected = (stacked * agree).sum(0) / agree.sum(0).clamp(min=1)
        assert float((update - expected).abs().max()) < 1e-5


def test_lorahubs_formula_is_the_product_of_the_weighted_sums_and_not_linears(
        pair: list[Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    weights = [0.6, -0.3]
    hub = dense(combine(pair, tmp_path / "hub", "lorahub", weights=weights).folder)
    files = [load_file(folder / "adapter_model.safetensors") for folder in pair]

    def expected(module: str) -> Any:
        up, down = (sum(weight * file[f"base_model.model.{module}.lora_{factor}.weight"]
                        for weight, file in zip(weights, files, strict=True)) for factor in "BA")
        return 2 * up @ down

    assert furthest(hub, expected) < 1e-6
    linear = dense(combine(pair, tmp_path / "linear", "linear", weights=weights).folder)
    away = sum(float((hub[module] - linear[module]).norm()) for module in hub)
    assert away > 0.3 * sum(float(hub[module].norm()) for module in hub)
    alone = dense(combine(pair, tmp_path / "alone", "lorahub", weights=[1, 0]).folder)
    part = dense(pair[0])
    assert furthest(alone, lambda module: part[module]) < 1e-6


def test_dropping_at_random_is_the_same_for_the_same_seed_only(pair: list[Path], tmp_path: Path) -> None:
    hashes = [combine(pair, tmp_path / str(i), "dare_linear", seed=seed).sha256 for i, seed in enumerate((1, 1, 2))]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("heads", ["average", "first", "weighted"])
def test_heads_are_averaged_weighted_or_the_firsts_and_the_notes_say_which(heads: str, pair: list[Path],
                                                                            tmp_path: Path) -> None:
    from safetensors.torch import load_file

    made_ = combine(pair, tmp_path / "out", "cat", heads=heads, weights=[0.5, -0.25])
    files = [load_file(folder / "adapter_model.safetensors")["base_model.model.classifier.weight"] for folder in pair]
    found = load_file(made_.folder / "adapter_model.safetensors")["base_model.model.classifier.weight"]
    expected = {"average": (files[0] + files[1]) / 2, "first": files[0],
                "weighted": 0.5 * files[0] - 0.25 * files[1]}[heads]
    assert float((found - expected).abs().max()) < 1e-7
    assert {"average": "plain mean", "first": "that of one", "weighted": "same weights"}[heads] in made_.notes[0]
    assert made_.parameters["head"] == sum(value.numel() for key, value in load_file(
        made_.folder / "adapter_model.safetensors").items() if "lora_" not in key) > 0


def test_a_composed_adapter_is_an_adapter_for_playground_merge_and_download(
        bert: Path, pair: list[Path], tmp_path: Path) -> None:
    import torch

    from engine.export.package import zip_adapter
    from engine.merge import merge
    from engine.predict import Player

    made_ = combine(pair, tmp_path / "composed", "cat", weights=[0.5, 0.5])
    merge(made_.folder, bert, tmp_path / "merged", task_name=made.CLASSIFY, dtype="float32")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    inputs = AutoTokenizer.from_pretrained(tmp_path / "merged")(TEXT, return_tensors="pt")
    with torch.inference_mode():
        expected = plain.eval()(**inputs).logits.flatten()
    assert float((logits(made_.folder, bert) - expected).abs().max()) < 1e-4
    player = Player(bert, made.CLASSIFY, dtype="fp32")
    player.attach("composed", made_.folder)
    (answers,) = player.respond(["composed"], [{"text": TEXT}])
    assert list(answers["replies"][0]["scores"].values()) == pytest.approx(expected.softmax(-1).tolist(), abs=1e-4)
    assert zip_adapter(made_.folder, tmp_path / "out.zip").stat().st_size > made_.bytes
    assert adapter.read(made_.folder).labels == LABELS


def test_soft_prompts_of_one_shape_are_averaged_and_others_refused(shared: Path, tmp_path: Path) -> None:
    from peft import PromptTuningConfig
    from safetensors.torch import load_file

    base = shared / "models" / "stories260k"
    sizes = {"one": 4, "two": 4, "long": 5}
    folders: dict[str, Path] = {}
    for seed, (name, size) in enumerate(sizes.items()):
        config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=size)
        folders[name] = made.make(tmp_path / name, base, made.CHAT, seed=seed, config=config)
    made_ = combine([folders["one"], folders["two"]], tmp_path / "mean", "average", weights=[3, 1])
    one, two, mean = (load_file(folder / "adapter_model.safetensors")["prompt_embeddings"]
                      for folder in (folders["one"], folders["two"], made_.folder))
    assert float((mean - (0.75 * one + 0.25 * two)).abs().max()) < 1e-7
    made.plain(made_.folder, base, made.CHAT)
    with pytest.raises(parents.DifferentShapes):
        combine([folders["one"], folders["long"]], tmp_path / "x", "average")
    with pytest.raises(parents.NotLora) as caught:
        combine([folders["one"], folders["two"]], tmp_path / "x", "cat")
    assert "prompt tuning" in caught.value.what


@pytest.mark.parametrize("name", ["prompt_tuning", "prefix_tuning"])
def test_prompts_and_prefixes_of_our_own_tuners_are_averaged_and_measured(name: str, bert: Path,
                                                                            tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from engine import methods, models, tasks

    folders: list[Path] = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        loaded = models.load(bert, tasks.get(made.CLASSIFY)(), LABELS, dtype="fp32")  # type: ignore[call-arg]
        method: Any = methods.get(name).model_validate({"name": name})
        model: Any = method.attach(loaded.model, loaded.shape, loaded.heads)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        method.conclude(model)
        folders.append(tmp_path / str(seed))
        method.save(model, folders[-1])
        loaded.tokenizer.save_pretrained(str(folders[-1]))  # type: ignore[union-attr]
        made.write_facts(folders[-1], made.CLASSIFY, LABELS, {}, {"text": "text", "label": "label"}, bert)
    made_ = compose.compose(folders, tmp_path / "mean", Recipe(how="average"), model_path=bert,
                            data=compose.Data(questions()))
    one, two, mean = (load_file(folder / "adapter_model.safetensors") for folder in (*folders, made_.folder))
    assert any(word in key for key in mean for word in ("prompt", "prefix"))
    for key, value in mean.items():
        assert float((value - (one[key] + two[key]) / 2).abs().max()) < 1e-6
    scores = [line["metrics"]["loss"] for line in made_.comparison]
    assert scores[2] == scores[3] != scores[0] != scores[1]
    assert not made_.notes[0].startswith("Its head") or "plain mean" in made_.notes[0]


def test_lorahub_finds_weights_of_language_models_too(shared: Path, tmp_path: Path) -> None:
    from engine.comparison import Rows

    base = shared / "models" / "stories260k"
    chats = [made.make(tmp_path / str(seed), base, made.CHAT, seed=seed, columns={"text": "text"})
             for seed in (1, 2)]
    table = pa.table({"text": [f"Once upon a time there were {n} little dogs who played all day." for n in range(40)]})
    made_ = compose.compose(chats, tmp_path / "out", Recipe(how="lorahub", examples=4, evaluations=12), model_path=base,
                            data=compose.Data(Rows(table, {"text": "text"})))
    losses = {line["kind"]: line["metrics"]["loss"] for line in made_.comparison}
    assert losses["composed"] < losses["part"] and made_.parameters["head"] == 0
    assert "36 other rows" in " ".join(made_.notes)


REFUSED: dict[str, tuple[type[Refused], str]] = {
    "base": (parents.DifferentBase, "cat"), "labels": (parents.DifferentLabels, "cat"),
    "task": (parents.DifferentTask, "cat"), "heads": (parents.DifferentHeads, "cat"),
    "dora": (parents.NotComposable, "cat"), "ia3": (parents.NotLora, "cat"), "ranks": (parents.DifferentRanks, "ties"),
    "hub ranks": (parents.DifferentRanks, "lorahub"), "pissa": (parents.NotComposable, "cat"),
    "bias": (parents.NotComposable, "cat"), "prompt": (parents.NotPrompt, "average"),
    "third factor": (parents.NotComposable, "cat"), "whole model": (parents.NotComposable, "cat"),
    "alone": (parents.TooFew, "cat")}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_together_is_refused_by_name(case: str, bert: Path, pair: list[Path],
                                                       tmp_path: Path) -> None:
    from peft import IA3Config

    kind, how = REFUSED[case]
    other = tmp_path / "other"
    settings: dict[str, Any] = {"dora": {"use_dora": True}, "ranks": {"r": 8}, "hub ranks": {"rank_pattern": {
        "query": 2}}, "pissa": {"r": 2, "init_lora_weights": "pissa"}, "bias": {"bias": "lora_only"}}.get(case, {})
    if case == "ia3":
        made.make(other, bert, made.CLASSIFY, LABELS, config=IA3Config(
            target_modules=["value"], feedforward_modules=[]))
    else:
        lora(other, bert, **settings)
    facts = json.loads((other / "studio.json").read_text())
    changes: dict[str, dict[str, Any]] = {"base": {"model_id": "org/another"}, "labels": {"labels": ["a", "b", "d"]},
                                          "task": {"options": {"problem": "multi_label"}}}
    (other / "studio.json").write_text(json.dumps(facts | changes.get(case, {})))
    if case in ("heads", "third factor"):
        from safetensors.torch import load_file, save_file

        file = other / "adapter_model.safetensors"
        tensors = load_file(file)
        if case == "heads":
            del tensors["base_model.model.classifier.bias"]
        else:
            tensors[f"{LAYER}.lora_diag"] = tensors[f"{LAYER}.lora_A.weight"][:, 0].contiguous()
        save_file(tensors, file)
    folders = {"alone": [pair[0]], "whole model": [pair[0], bert]}.get(case, [pair[0], other])
    with pytest.raises(kind) as caught:
        combine(folders, tmp_path / "out", how)
    said = caught.value.as_dict()
    assert "{" not in said["what"] + said["try_this"] and said["try_this"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("document", "word"), [
    ({"how": "blend"}, "how"), ({"how": "cat", "strength": 2}, "strength"), ({"weights": [0, 0]}, "weights"),
    ({"density": 0}, "density"), ({"weights": [1, float("nan")]}, "weights")])
def test_recipes_that_make_no_sense_are_refused_by_the_setting(document: dict[str, Any], word: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(document)
    assert word in f"{caught.value.where} {caught.value.what}"


def test_weights_must_be_one_for_each_adapter(pair: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="3 for 2"):
        combine(pair, tmp_path / "out", "cat", weights=[1, 1, 1])
    assert Recipe(how="cat").weights_for(4) == [0.25] * 4
    assert Recipe(how="ties").weights_for(2) == [1.0, 1.0]
    assert set(WAYS) == set(Recipe.model_fields["how"].annotation.__args__)  # type: ignore[union-attr]


def questions(labels: list[str] | None = None) -> Any:
    """Return 120 rows about different things with the labels given, or one of three in turn."""
    from engine.comparison import Rows

    things = ["little dog", "big house", "red car", "cold lake", "old tree"]
    texts = [f"Number {i * i} is about a {things[i % 5]} and {'x' * (i % 7)}." for i in range(120)]
    table = pa.table({"label": labels or [LABELS[i % 3] for i in range(120)], "text": texts})
    return Rows(table, {"text": "text", "label": "label"})


def labelled_by(folder: Path, base: Path) -> Any:
    """Return the same rows with what the adapter in `folder` says about them as labels."""
    from engine.predict import Player

    player = Player(base, made.CLASSIFY)
    player.attach("teacher", folder)
    (answers,) = player.respond(["teacher"], [{"text": text} for text in questions().table["text"].to_pylist()])
    return questions([reply["label"] for reply in answers["replies"]])


def test_lorahub_finds_a_hidden_combination_and_compares_on_rows_it_did_not_see(
        bert: Path, pair: list[Path], tmp_path: Path) -> None:
    hidden = combine(pair, tmp_path / "hidden", "lorahub", weights=[-1.0, 1.2]).folder
    rows = labelled_by(hidden, bert)
    recipe = Recipe(how="lorahub", examples=24, evaluations=22, seed=7, penalty=0.001)
    seen: list[tuple[float, str, dict[str, Any]]] = []
    made_, again = (compose.compose(pair, tmp_path / name, recipe, names=["One", "Two"], model_path=bert,
                                    data=compose.Data(rows), report=lambda *told: seen.append(told))
                    for name in ("first", "again"))
    assert made_.sha256 == again.sha256 and made_.weights == again.weights
    tries = made_.tries
    assert len(tries) == 22 and tries[0]["weights"] == [0, 0]
    for one in tries:
        assert one["objective"] == pytest.approx(one["loss"] + 0.001 * sum(map(abs, one["weights"])))
        assert max(map(abs, one["weights"])) <= 1.5
    best = min(tries, key=lambda one: one["objective"])
    assert best["weights"] == made_.weights and best["objective"] < min(one["objective"] for one in tries[:4])
    losses = {row["kind"]: row["metrics"]["loss"] for row in made_.comparison}
    assert losses["composed"] < min(losses["part"], losses["mean"])
    assert [(row["name"], row["kind"]) for row in made_.comparison] == [
        ("One", "part"), ("Two", "part"), ("Their mean", "mean"), ("Composed", "composed")]
    assert made_.metrics == made_.comparison[-1]["metrics"]
    assert "24 examples in 22 tries" in made_.notes[-1] and "96 other rows" in made_.notes[-1]
    fractions = [told[0] for told in seen[:len(seen) // 2]]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert [told[2]["tried"] for told in seen if "tried" in told[2]] == [*range(1, 23)] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "first", "hidden"]
    # What was searched is what was saved.
    by_hand = compose.compose(pair, tmp_path / "by-hand", Recipe(how="lorahub", weights=made_.weights))
    assert by_hand.sha256 == made_.sha256


def test_a_search_that_is_stopped_leaves_nothing_behind(bert: Path, pair: list[Path], tmp_path: Path) -> None:
    tried: list[int] = []

    def report(fraction: float, text: str, facts: dict[str, Any]) -> None:
        tried.extend([facts["tried"]] if "tried" in facts else [])

    with pytest.raises(Cancelled):
        compose.compose(pair, tmp_path / "out", Recipe(how="lorahub"), model_path=bert, data=compose.Data(questions()),
                        report=report, cancelled=lambda: len(tried) >= 3)
    assert tried == [1, 2, 3] and list(tmp_path.iterdir()) == []


def test_lorahub_without_rows_and_rows_with_other_labels_are_refused(bert: Path, pair: list[Path],
                                                                      tmp_path: Path) -> None:
    from engine.comparison import LabelsUnknown, Rows

    with pytest.raises(compose.NeedsExamples):
        combine(pair, tmp_path / "out", "lorahub")
    table = questions().table
    strange = pa.table({"text": table["text"], "label": [f"{label}!" for label in table["label"].to_pylist()]})
    with pytest.raises(LabelsUnknown, match="a!"):
        compose.compose(pair, tmp_path / "out", Recipe(how="cat"), model_path=bert,
                        data=compose.Data(Rows(strange, {"text": "text", "label": "label"})))


@pytest.mark.parametrize("evaluations", [4, 5, 9, 11, 30])
def test_a_search_tries_exactly_as_often_as_it_may_and_keeps_the_best(evaluations: int) -> None:
    recipe = Recipe(how="lorahub", evaluations=evaluations, penalty=0.1, bound=0.5)

    def loss(weights: list[float]) -> float:
        return math.nan if weights[0] > 0.4 else (weights[0] - 0.3) ** 2 + (weights[1] + 2) ** 2 + weights[2] ** 2

    found = lorahub.search(loss, 3, recipe)
    assert len(found.tries) == evaluations
    known = [one for one in found.tries if one.objective is not None]
    assert found.best == min(known, key=lambda one: one.objective or 0)
    assert all(abs(weight) <= 0.5 for one in found.tries for weight in one.weights)
    assert found.tries == lorahub.search(loss, 3, recipe).tries


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_search_finds_the_minimum_of_a_slanted_bowl_within_its_bounds(count: int) -> None:
    random = np.random.default_rng(0)
    goal = np.linspace(-1.0, 1.0, count)
    slant = random.standard_normal((count, count)) + 2 * np.eye(count)
    search = cma.Search([0.0] * count, 0.5, 1.5, seed=3)
    best = math.inf
    for _ in range(120):
        points = search.ask()
        losses = [float(((slant @ (point - goal)) ** 2).sum()) for point in points]
        search.tell(points, losses)
        best = min(best, *losses)
        assert all(np.abs(point).max() <= 1.5 for point in points)
    assert best < 1e-6
