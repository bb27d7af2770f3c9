"""Deep prompts beside prompts at the input, with as many updates as prompts need."""

from __future__ import annotations

from bench.fidelity.comparison import Claim, Comparison, Effort, Source
from bench.fidelity.encoders import ONE, cola

PROMPTS = Comparison(
    name="prompts", title="Prompts trained for long", task="text_classification",
    about="The comparison above gives every method 250 updates, which is few for prompts. Here are ten times as many, "
          "for deep and shallow prompts of 20 tokens, and for full fine-tuning beside them.",
    models=("starter/minilm-l6",), sources=(Source("cola", "matthews_correlation", cola, ONE, 48),),
    methods={name: {"name": name} for name in ("full", "p_tuning_v2", "prompt_tuning")},
    effort=Effort(train=4000, tune=500, test=1000, epochs=10, batch=16),
    claims=(Claim("p_tuning_v2", "prompt_tuning", "P-tuning v2, table 2", 5),))
