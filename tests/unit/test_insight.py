"""What is told of a trained result, against the same arithmetic on whole matrices."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parent))

import made_adapters

from engine import insight
from engine.insight import attention, lowrank, prompts, similarity, whole
from engine.insight.places import Places
from engine.insight.report import Heat, Insight, Lines, Section, Table
from engine.insight.store import Clock
from engine.shape import ModelShape, Module

WIDTH, VOCAB = 6, 40


def shape(layers: int = 2) -> ModelShape:
    """Return a tiny model: query and down in each layer, a norm outside, a word embedding."""
    modules = [Module(name=f"encoder.layer.{i}.{name}", kind="linear", role=role, layer=i, d_in=WIDTH, d_out=WIDTH,
                      bias=True, parameters=WIDTH * WIDTH + WIDTH)
               for i in range(layers) for name, role in (("attention.self.query", "query"), ("output.dense", "down"))]
    modules += [Module(name="embeddings.word_embeddings", kind="embedding", role="embedding", d_in=VOCAB, d_out=WIDTH,
                       parameters=VOCAB * WIDTH),
                Module(name="norm", kind="norm", role="norm", d_out=WIDTH, parameters=2 * WIDTH, bias=True)]
    return ModelShape(architecture="TinyModel", model_type="tiny", family="encoder", layers=layers, hidden=WIDTH,
                      total=sum(m.parameters for m in modules), vocab=VOCAB, modules=modules)


def adapter(folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    """Write an adapter's folder with these tensors, named as peft names them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({f"base_model.model.{name}": value.contiguous() for name, value in tensors.items()},
              folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def base(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """Write a base model's weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    return folder


def named(found: Insight, name: str) -> Section:
    """Return the section of that name; it must be there, and nothing may have failed."""
    assert not found.notes, found.notes
    return next(section for section in found.sections if section.name == name)


def heat(section: Section, title: str = "") -> Heat:
    return next(part for part in section.parts if isinstance(part, Heat) and (not title or part.title == title))


def cell(map_: Heat, row: str, column: str) -> Any:
    return map_.values[map_.rows.index(row)][map_.columns.index(column)]


# -- low rank -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "expected"), [
    ([3.0, 3.0, 3.0, 3.0], 4.0), ([7.0], 1.0), ([7.0, 0.0, 0.0], 1.0), ([], 0.0), ([0.0, 0.0], 0.0),
    # Shares 1/2, 1/4, 1/8, 1/8 have an entropy of 1.75 bits.
    ([8.0, 4.0, 2.0, 2.0], 2**1.75)])
def test_effective_rank_is_the_exponential_of_the_entropy_of_the_spectrum(values: list[float], expected: float) -> None:
    assert lowrank.effective_rank(values) == pytest.approx(expected)


@pytest.mark.parametrize(("out", "r", "inner"), [(20, 3, 12), (5, 8, 7), (4, 4, 4)])
def test_spectrum_of_a_product_is_that_of_the_whole_matrix(out: int, r: int, inner: int) -> None:
    torch.manual_seed(0)
    up, down = torch.randn(out, r), torch.randn(r, inner)
    whole_matrix = torch.linalg.svdvals(0.5 * (up.double() @ down.double()))
    found = lowrank.spectrum(down, up, 0.5)
    kept = min(len(found), len(whole_matrix))
    torch.testing.assert_close(found[:kept], whole_matrix[:kept], atol=1e-9, rtol=1e-9)
    assert not found[kept:].gt(1e-9).any() and not whole_matrix[kept:].gt(1e-9).any()


@pytest.mark.shared
def test_update_sizes_of_a_lora_are_those_of_pefts_own_dense_updates(shared: Path, tmp_path: Path) -> None:
    from peft import LoraConfig

    folder, model_path = tmp_path / "adapter", shared / "models" / "bert-tiny"
    config = LoraConfig(r=4, lora_alpha=6, target_modules=made_adapters.TARGETS["text_classification"],
                        use_rslora=True, alpha_pattern={"layer.1.attention.self.query": 20.0})
    made_adapters.make(folder, model_path, "text_classification", ["a", "b"], config=config)
    peft_model, _ = made_adapters.plain(folder, model_path, "text_classification", ["a", "b"])
    dense = {name: (layer.get_delta_weight("default").detach(), layer.base_layer.weight.detach())
             for name, layer in peft_model.base_model.model.named_modules() if hasattr(layer, "get_delta_weight")}
    from engine import models

    found = insight.describe(folder, models.inspect(model_path), base=model_path, heads=["classifier"])
    table = next(part for part in named(found, "update_size").parts if isinstance(part, Table))
    assert {str(row[0]) for row in table.rows} == set(dense) and len(dense) == 6
    for name, rank, norm, relative, effective, largest in table.rows:
        delta, weight = dense[str(name)]
        values = torch.linalg.svdvals(delta.double())[:4]
        assert rank == 4
        assert norm == pytest.approx(float(delta.norm()), rel=1e-4)
        assert relative == pytest.approx(float(delta.norm() / weight.norm()), rel=1e-4)
        assert effective == pytest.approx(lowrank.effective_rank(values.tolist()), rel=1e-3)
        assert largest == pytest.approx(float(values[0]), rel=1e-4)
    counts = named(found, "parameters").facts
    assert counts["stored"] == sum(t.numel() for t in load_file(folder / "adapter_model.safetensors").values())
    assert counts["head"] == 2 * 128 + 2


def test_adalora_tells_the_rank_each_matrix_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    kept = {"encoder.layer.0.attention.self.query": [1.0, 0.0, 2.0], "encoder.layer.1.output.dense": [0.0, 0.0, 0.0]}
    tensors: dict[str, torch.Tensor] = {}
    for name, values in kept.items():
        tensors |= {f"bert.{name}.lora_A": torch.randn(3, WIDTH), f"bert.{name}.lora_B": torch.randn(WIDTH, 3),
                    f"bert.{name}.lora_E": torch.tensor(values)[:, None]}
    folder = adapter(tmp_path / "adapter", tensors, peft_type="ADALORA", lora_alpha=6)
    found = insight.describe(folder, shape())
    ranks = named(found, "final_ranks")
    assert ranks.facts["total rank"] == 2
    assert cell(heat(ranks), "attention query", "1") == 2 and cell(heat(ranks), "MLP down", "2") == 0
    name = "bert.encoder.layer.0.attention.self.query"
    # alpha over the rank that every layer started with.
    dense = 2.0 * tensors[f"{name}.lora_B"] @ (tensors[f"{name}.lora_A"] * tensors[f"{name}.lora_E"])
    size = cell(heat(named(found, "update_size")), "attention query", "1")
    assert size == pytest.approx(float(dense.norm()), rel=1e-4)


def test_dora_tells_by_how_much_the_lengths_of_the_rows_changed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    name, weight = "encoder.layer.0.attention.self.query", torch.randn(WIDTH, WIDTH)
    tensors = {f"bert.{name}.lora_A.weight": torch.randn(2, WIDTH), f"bert.{name}.lora_B.weight": torch.randn(WIDTH, 2),
               f"bert.{name}.lora_magnitude_vector": weight.norm(dim=1) * 1.25}
    folder = adapter(tmp_path / "adapter", tensors, peft_type="LORA", lora_alpha=2, use_dora=True)
    found = insight.describe(folder, shape(), base=base(tmp_path / "base", {f"{name}.weight": weight}))
    assert cell(heat(named(found, "magnitudes")), "attention query", "1") == pytest.approx(0.25, rel=1e-3)


def test_matrices_are_left_out_and_counted_once_time_is_up(tmp_path: Path) -> None:
    names = [f"encoder.layer.{i}.attention.self.query" for i in range(2)]
    tensors = {f"{name}.lora_{f}.weight": torch.ones((1, WIDTH) if f == "A" else (WIDTH, 1))
               for name in names for f in "AB"}
    folder = adapter(tmp_path / "adapter", tensors, peft_type="LORA", lora_alpha=1)
    assert insight.describe(folder, shape(), seconds=60).sections[0].name == "update_size"
    hurried = insight.describe(folder, shape(), seconds=0)
    assert [section.name for section in hurried.sections] == ["parameters"] and not hurried.notes


# -- vectors ------------------------------------------------------------------------------------------------------


def test_biases_scales_and_shifts_are_told_by_kind_and_layer(tmp_path: Path) -> None:
    query, norm = "encoder.layer.1.attention.self.query", "norm"
    folder = adapter(tmp_path / "bitfit", {f"bert.{query}.bitfit_bias": torch.tensor([1.0, -3.0]),
                                           f"bert.{norm}.bitfit_bias": torch.tensor([-0.5])}, peft_type="BITFIT")
    map_ = heat(named(insight.describe(folder, shape()), "bias_change"))
    assert cell(map_, "attention query", "2") == 2.0 and cell(map_, "norm", "other") == 0.5
    assert cell(map_, "attention query", "other") is None
    folder = adapter(tmp_path / "ssf", {f"{query}.ssf_scale": torch.tensor([1.5, 0.5]),
                                        f"{query}.ssf_shift": torch.tensor([0.0, -4.0])}, peft_type="SSF")
    section = named(insight.describe(folder, shape()), "scale_shift")
    assert [part.values for part in section.parts if isinstance(part, Heat)] == [[[0.5]], [[2.0]]]


def test_diff_pruning_tells_the_share_of_changed_numbers_of_each_matrix(tmp_path: Path) -> None:
    one, other = "encoder.layer.0.output.dense", "encoder.layer.1.output.dense"
    folder = adapter(tmp_path / "adapter", {
        f"{one}.sparse_index": torch.tensor([0, 7, 41], dtype=torch.int32), f"{one}.sparse_values": torch.ones(3),
        f"{other}.sparse_index": torch.zeros(0, dtype=torch.int32), f"{other}.sparse_values": torch.zeros(0)},
        peft_type="DIFF_PRUNING")
    section = named(insight.describe(folder, shape()), "sparsity")
    assert section.facts == {"changed": 3, "of": 84, "sparsity": "96.429%", "matrices left alone": 1}
    assert cell(heat(section), "MLP down", "1") == pytest.approx(3 / 42, rel=1e-4)
    assert cell(heat(section), "MLP down", "2") == 0


def test_single_tokens_tell_how_far_they_moved_from_their_words(tmp_path: Path) -> None:
    torch.manual_seed(0)
    name, table = "embeddings.word_embeddings", torch.randn(VOCAB, WIDTH)
    moved = torch.stack([table[7] * 1.5, table[3]])
    folder = adapter(tmp_path / "adapter", {f"{name}.trainable_tokens_delta": moved}, token_indices=[7, 3],
                     peft_type="TRAINABLE_TOKENS")
    found = insight.describe(folder, shape(), base=base(tmp_path / "base", {f"{name}.weight": table}))
    part = next(part for part in named(found, "tokens").parts if isinstance(part, Table))
    assert [row[1] for row in part.rows] == [7, 3] and [row[2] for row in part.rows] == pytest.approx([0.5, 0.0])


def test_bottlenecks_tell_their_way_up_and_the_scale_they_found(tmp_path: Path) -> None:
    name = "encoder.layer.0.output.dense"
    folder = adapter(tmp_path / "adapter", {f"{name}.adaptformer_up": torch.full((WIDTH, 2), 0.5),
                                            f"{name}.adaptformer_scale": torch.tensor([0.3])},
                     peft_type="ADAPTFORMER", scale=0.1)
    found = insight.describe(folder, shape())
    size = cell(heat(named(found, "bottlenecks")), "AdaptFormer branch", "1")
    assert size == pytest.approx(math.sqrt(12 * 0.25), rel=1e-4)
    lines = next(part for part in named(found, "learned_scale").parts if isinstance(part, Lines))
    assert [(line.name, line.x, line.y) for line in lines.series] == [("learned s", [1], [0.3]), ("start", [1], [0.1])]


def test_what_stands_beside_a_layer_has_a_name_of_its_own_in_the_map_of_parameters(shared: Path,
                                                                                   tmp_path: Path) -> None:
    from engine import methods, models, tiny

    bert = models.inspect(tiny.folder("bert", tmp_path / "bert"))
    vit = models.inspect(tiny.folder("vit", tmp_path / "vit"))
    branch, prompt = methods.get("adaptformer")(name="adaptformer", size=2), methods.get("vpt")(name="vpt", length=3)
    for method, model, name, part in ((branch, bert, "AdaptFormer branch", "adaptformer_up"),
                                      (prompt, vit, "prompts", "vpt_prompt")):
        pieces = method.pieces(model)
        tensors = {f"{piece.module}.{part}": torch.ones(piece.stored) for piece in pieces}
        found = insight.describe(adapter(tmp_path / name, tensors, peft_type="LORA"), model, method=method)
        section = next(one for one in found.sections if one.name == "parameters")
        assert heat(section).rows == [name]
        table = next(one for one in section.parts if isinstance(one, Table))
        count = sum(piece.stored for piece in pieces)
        assert next(row for row in table.rows if row[0] == name)[1:] == [0, count, count]


# -- whole matrices -----------------------------------------------------------------------------------------------


def test_a_whole_model_is_compared_with_its_base_matrix_by_matrix(tmp_path: Path) -> None:
    torch.manual_seed(0)
    name, weight = "encoder.layer.0.attention.self.query.weight", torch.randn(WIDTH, WIDTH)
    under = base(tmp_path / "base", {name: weight})
    trained = base(tmp_path / "model", {f"bert.{name}": weight * 1.1, "classifier.weight": torch.randn(2, WIDTH)})
    found = insight.describe(trained, shape(), base=under, heads=["classifier"])
    map_ = heat(named(found, "weight_change"))
    assert map_.rows == ["attention query"] and map_.values[0][0] == pytest.approx(0.1, rel=1e-3)


def test_what_a_merge_would_change_is_measured_and_put_back_to_the_byte(shared: Path, tmp_path: Path) -> None:
    from peft import OFTConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(shared / "models" / "bert-tiny", num_labels=2,
                                                               dtype=torch.float32)
    wrapped: Any = get_peft_model(model, OFTConfig(oft_block_size=8, r=0, target_modules=["query"]))
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.05)
    before = {name: value.clone() for name, value in wrapped.state_dict().items()}
    from engine import models

    sections = whole.of_merge(wrapped, Places(models.inspect(shared / "models" / "bert-tiny")), Clock(30))
    assert all(torch.equal(value, before[name]) for name, value in wrapped.state_dict().items())
    layer = "bert.encoder.layer.1.attention.self.query"
    merged = wrapped.merge_and_unload().get_submodule(layer).weight
    old = before[f"base_model.model.{layer}.base_layer.weight"]
    expected = float((merged - old).norm() / old.norm())
    assert expected > 0.01 and cell(heat(sections[0]), "attention query", "2") == pytest.approx(expected, rel=1e-4)


# -- prompts ------------------------------------------------------------------------------------------------------


def test_a_virtual_token_that_is_a_word_is_nearest_to_that_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "CHUNK", 7)
    torch.manual_seed(0)
    words = torch.randn(VOCAB, WIDTH)
    distances, ids = prompts.nearest(torch.stack([words[39] * 3, words[2], -words[2]]), words, 4)
    assert ids[0, 0] == 39 and ids[1, 0] == 2 and ids[2, 0] != 2
    assert distances[0, 0] == pytest.approx(0, abs=1e-6) and distances.diff(dim=1).ge(0).all()
    cosines = torch.nn.functional.cosine_similarity(words[2][None], words)
    assert ids[1].tolist() == cosines.topk(4).indices.tolist()
    torch.testing.assert_close(distances[1], 1 - cosines.topk(4).values, atol=1e-6, rtol=1e-5)


@pytest.mark.shared
def test_the_words_of_a_prompt_and_its_likeness_to_itself_are_told(shared: Path, tmp_path: Path) -> None:
    from engine import models

    model_path = shared / "models" / "bert-tiny"
    tokenizer: Any = models.tokenizer_of(model_path)
    words = load_file(model_path / "model.safetensors")
    table = next(value for name, value in words.items() if name.endswith("word_embeddings.weight"))
    chosen = tokenizer.convert_tokens_to_ids(["film", "great", "film", "bad"])
    folder = adapter(tmp_path / "adapter", {"bert.embeddings.word_embeddings.prompt_tokens":
                                            table[chosen].unflatten(0, (2, 2))}, peft_type="PROMPT", members=2)
    tokenizer.save_pretrained(folder)
    found = insight.describe(folder, models.inspect(model_path), base=model_path)
    near = [part for section in found.sections if section.name == "nearest_words" for part in section.parts]
    assert [[row[1] for row in part.rows] for part in near if isinstance(part, Table)] == [["film", "great"],
                                                                                          ["film", "bad"]]
    alike = heat(named(found, "prompt_similarity"))
    cosine = float(torch.nn.functional.cosine_similarity(table[chosen[0]], table[chosen[1]], dim=0))
    assert alike.values[0] == pytest.approx([1.0, cosine], abs=2e-3)


def test_prompts_are_compared_by_their_mean_and_by_all_pairs(tmp_path: Path) -> None:
    def prompt(name: str, *rows: list[float]) -> Path:
        return adapter(tmp_path / name, {"embeddings.prompt_tokens": torch.tensor(rows)}, peft_type="PROMPT")

    one, same = prompt("one", [1.0, 0, 0], [0, 1, 0]), prompt("same", [2.0, 0, 0], [0, 2, 0], [1, 1, 0])
    apart, wider = prompt("apart", [0, 0, 1.0]), prompt("wider", [1.0, 0, 0, 0])
    found = similarity.between(one, same)
    assert found is not None and found.averaged == pytest.approx(1) and found.each == pytest.approx(
        (1 + 0 + math.sqrt(0.5) + 0 + 1 + math.sqrt(0.5)) / 6, abs=1e-4)
    assert similarity.between(one, apart) == similarity.Similarity(averaged=0, each=0)
    assert similarity.between(one, wider) is None and similarity.is_prompt(one)
    lora = adapter(tmp_path / "lora", {"a.lora_A.weight": torch.ones(1, 3)}, peft_type="LORA")
    assert not similarity.is_prompt(lora) and similarity.between(lora, one) is None


@pytest.mark.parametrize("masked", ["nothing", "causal", "places", "numbers"])
def test_mass_on_a_prefix_is_that_of_the_whole_softmax(masked: str) -> None:
    torch.manual_seed(0)
    heads, kv_heads, tokens, size, count = 4, 2, 5, 3, 6
    query, key = torch.randn(1, heads, tokens, size), torch.randn(1, kv_heads, tokens, size)
    front = torch.randn(count, kv_heads * size)
    allowed = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    mask = {"nothing": None, "causal": None, "places": allowed[None, None],
            "numbers": torch.zeros(1, 1, tokens, tokens).masked_fill(~allowed, -1e9)}[masked]
    found = attention.mass(query, key, front, mask, causal=masked == "causal")
    ahead = front.view(count, kv_heads, size).transpose(0, 1)
    for head in range(heads):
        own = query[0, head] @ key[0, head // 2].T / math.sqrt(size)
        if masked != "nothing":
            own = own.masked_fill(~allowed, float("-inf"))
        scores = torch.cat([query[0, head] @ ahead[head // 2].T / math.sqrt(size), own], dim=1)
        torch.testing.assert_close(found[0, head], scores.softmax(dim=1)[:, :count].sum(dim=1), atol=1e-5, rtol=1e-5)


def test_attention_on_a_prefix_is_what_the_models_own_attention_weights_say(shared: Path) -> None:
    from engine import methods, models, tasks

    torch.manual_seed(0)
    path = shared / "models" / "bert-tiny"
    loaded = models.load(path, tasks.get("text_classification")(), ["a", "b"], dtype="fp32", attention="eager")
    method: Any = methods.get("p_tuning_v2")()
    model: Any = method.attach(loaded.model, loaded.shape, loaded.heads).eval()
    rows = [{"input_ids": torch.tensor([[101, 2023, *([2143] * extra), 102]])} for extra in (1, 4)]
    sections = attention.sections(model, rows, Places(loaded.shape), Clock(30))
    with torch.inference_mode():
        weights = [model(**row, output_attentions=True).attentions for row in rows]
    line = next(part for part in sections[0].parts if isinstance(part, Lines)).series[0]
    for layer, share in enumerate(line.y):
        count = weights[0][layer].shape[-1] - rows[0]["input_ids"].shape[1]
        assert count == sections[0].facts["virtual tokens"]
        on_it = torch.cat([row[layer][..., :count].sum(-1).flatten() for row in weights])
        assert share == pytest.approx(float(on_it.mean()), abs=1e-4)


# -- places, failures and files -----------------------------------------------------------------------------------


def test_a_module_is_found_under_any_tasks_model() -> None:
    places = Places(shape())
    assert places.of("bert.encoder.layer.1.output.dense") == ("MLP down", 1)
    assert places.of("encoder.layer.0.attention.self") == ("self", 0)
    assert places.of("vit.encoder.layer.1") == ("layer", 1)
    assert places.of("norm") == ("norm", None)
    assert places.of("something.blocks.3.mixer") == ("mixer", 3) and places.of("classifier") == ("classifier", None)


def test_a_part_that_fails_is_noted_and_the_others_are_told(tmp_path: Path) -> None:
    name = "encoder.layer.0.output.dense"
    folder = adapter(tmp_path / "adapter", {f"{name}.lora_A.weight": torch.ones(2, WIDTH),
                                            f"{name}.lora_B.weight": torch.ones(WIDTH, 3)}, peft_type="LORA")
    found = insight.describe(folder, shape())
    assert len(found.notes) == 1 and "could not be worked out" in found.notes[0]
    assert found.sections[-1].name == "parameters" and found.sections[-1].facts["stored"] == 5 * WIDTH


def test_insight_is_read_back_as_written_and_not_from_another_version(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", {"norm.bitfit_bias": torch.tensor([float("nan"), 1.0])}, peft_type="BITFIT")
    found = insight.describe(folder, shape())
    insight.write(found, tmp_path)
    path = tmp_path / insight.FILE
    assert insight.read(path) == found and "NaN" not in path.read_text()
    path.write_text(path.read_text().replace(f'"version":{insight.VERSION}', '"version":0'))
    assert insight.read(path) is None and insight.read(tmp_path / "nothing.json") is None
