"""Random models of a few thousand weights for tests: every architecture, no download, the same each time."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.gguf import building

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
IMAGE = {"image_size": 32, "patch_size": 8}
VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64} | IMAGE
#: Architecture -> how its configuration calls its sizes.
SMALL: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "roberta": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
                "max_position_embeddings": 130},
    "electra": {"embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 64},
    "albert": {"embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
               "intermediate_size": 64},
    "mpnet": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "deberta-v2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
                   "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": True},
    "modernbert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
                   "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128},
    "gpt_neox": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "llama": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
              "intermediate_size": 48},
    "qwen2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
              "intermediate_size": 48},
    "qwen3": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
              "intermediate_size": 48, "head_dim": 8},
    "gemma": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1,
              "intermediate_size": 48, "head_dim": 8},
    "gemma2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
               "intermediate_size": 48, "head_dim": 8, "sliding_window": 16},
    "gemma3_text": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1,
                    "intermediate_size": 48, "head_dim": 8, "sliding_window": 16,
                    # As in every Gemma 3, some layer sees the whole text.
                    "layer_types": ["sliding_attention", "full_attention"]},
    "mistral": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
                "intermediate_size": 48, "head_dim": 8},
    "phi3": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
             "intermediate_size": 48},
    "opt": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64,
            "word_embed_proj_dim": 32},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0,
           "eos_token_id": 3},
    "mt5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0,
           "eos_token_id": 3},
    "bart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "eos_token_id": 3},
    "vit": VIT, "deit": VIT, "beit": VIT | {"use_relative_position_bias": True},
    "dinov2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2} | IMAGE,
    "swin": {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4, "patch_size": 4,
             "image_size": 32, "mlp_ratio": 2.0},
}
#: Those that look at images.
VISION = ("vit", "deit", "beit", "dinov2", "swin")
#: Convolutional networks, which look at images too.
CONVOLUTIONAL: dict[str, dict[str, Any]] = {
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "layer_type": "bottleneck"},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2, "image_size": 32, "patch_size": 4},
    # Padded by its convolutions themselves, so that peft's layers can take their place.
    "mobilenet_v2": {"depth_multiplier": 0.25, "finegrained_output": False, "image_size": 32, "tf_padding": False},
}
COMMON = {"vocab_size": 400, "max_position_embeddings": 128, "pad_token_id": 0}


class UnknownTiny(ModelError):
    """There is no tiny model of type '{name}'."""

    kind = "unknown_tiny"
    try_this = "Use one of: {known}."


def configuration(name: str) -> Any:
    """Return the configuration of the tiny model of this architecture; raises UnknownTiny."""
    from transformers import AutoConfig

    every = SMALL | CONVOLUTIONAL
    if name not in every:
        raise UnknownTiny("model.id", name=f"tiny/{name}", known=", ".join(every))
    common = {} if name in (*VISION, *CONVOLUTIONAL) else COMMON
    return AutoConfig.for_model(name, **(common | every[name]))


def folder(name: str, data_dir: Path, seed: int = 0) -> Path:
    """Return a model directory with random weights and a tokenizer or image processor, made once in the data folder."""
    target = data_dir / "models" / "tiny" / name
    if (target / "config.json").is_file():
        return target
    with building(target) as place:
        save(name, place, seed)
    return target


def save(name: str, place: Path, seed: int = 0) -> None:
    """Write the tiny model of this architecture, with a language head where it has one, to `place`."""
    import torch
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    from engine.dimensions import family_of
    from engine.skeleton import quiet

    config = configuration(name)
    auto = {"decoder": AutoModelForCausalLM, "encoder-decoder": AutoModelForSeq2SeqLM}.get(
        family_of(config), AutoModel)
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = auto.from_config(config)
        if name in CONVOLUTIONAL:
            _get_used_to_noise(model)
        model.save_pretrained(place)
        if name in (*VISION, *CONVOLUTIONAL):
            processor(getattr(config, "image_size", IMAGE["image_size"])).save_pretrained(place)
        else:
            tokenizer().save_pretrained(place)


def _get_used_to_noise(model: Any) -> None:
    """Give batch norms the means and variances of noise: with those they are made with, random layers say nothing."""
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        model.train()(pixel_values=torch.randn(32, 3, IMAGE["image_size"], IMAGE["image_size"]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def processor(size: int) -> Any:
    """Return an image processor that makes images `size` × `size` and their values lie between -1 and 1."""
    from transformers import ViTImageProcessorPil

    return ViTImageProcessorPil(size={"height": size, "width": size}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def tokenizer() -> Any:
    """Return a tokenizer with a token for each printable character, as every tiny text model has it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, *string.printable]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")  # pyright: ignore[reportAttributeAccessIssue]
    backend.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]", mask_token="[MASK]", eos_token="[SEP]", model_max_length=128)  # noqa: S106
