"""What an exported folder says about itself: how to load it without the studio, where it comes from, its licences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine import methods
from engine.export.plain import FOLDER
from engine.generate import Sampling
from engine.generation.searching import Searching

AUTO = {"text_classification": "AutoModelForSequenceClassification", "causal_lm": "AutoModelForCausalLM",
        "token_classification": "AutoModelForTokenClassification",
        "question_answering": "AutoModelForQuestionAnswering",
        "seq2seq": "AutoModelForSeq2SeqLM", "image_classification": "AutoModelForImageClassification"}

#: What is asked, by role; and a conversation.
Said = Mapping[str, str]
Turns = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Facts:
    """What is known about an exported result. `base` is the public id of its base model, or the name of a folder.

    `kind` is adapter or model; `local` tells that the base has no public id; `note` says how the base differs from it;
    `composed` is how and of what it was combined; `own_tuner` tells that peft alone does not know the adapter's type;
    `plain` that the download holds it in a form that peft knows too.
    """

    name: str
    kind: str
    task: str
    base: str
    local: bool
    revision: str | None = None
    note: str = ""
    licence: str = ""
    labels: tuple[str, ...] = ()
    problem: str = "single_label"
    columns: Mapping[str, str] = field(default_factory=dict[str, Any])
    max_length: int | None = None
    quantization: str | None = None
    chat_template: bool = False
    method: str = ""
    composed: str = ""
    own_tuner: bool = False
    plain: bool = False
    dataset: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict[str, Any])
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


def readme(facts: Facts) -> str:
    """Return README.md: five lines that load the result in plain peft or transformers, then how to ask it."""
    parts = [f"# {facts.name}", _origin(facts), "## Load it",
             _requirements(facts), _fence(load_lines(facts))]
    if facts.kind == "adapter":
        parts.append(_base_hint(facts))
    parts += ["## Ask it", _fence(ask_lines(facts))]
    if facts.quantization:
        parts.append(f"It was trained on the base model stored as {facts.quantization}. Loaded as above, in full "
                     "precision, its answers can differ slightly.")
    parts += ["## Files", _files(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def load_lines(facts: Facts) -> list[str]:
    """Return the lines of Python that load the result from the folder beside the script."""
    auto = AUTO.get(facts.task, "AutoModel")
    seen = facts.task == "image_classification"
    name, reader = ("processor", "AutoImageProcessor") if seen else ("tokenizer", "AutoTokenizer")
    if facts.kind == "model":
        return [f"from transformers import {auto}, {reader}",
                f"{name} = {reader}.from_pretrained({_q(facts.name)})",
                f"model = {auto}.from_pretrained({_q(facts.name)}).eval()"]
    settings = [_q(facts.base), 'dtype="float32"']
    if facts.revision:
        settings.append(f"revision={_q(facts.revision)}")
    if facts.labels:
        # The head comes with the adapter: one that the base model may have had, with other labels, is dropped.
        settings += [f"num_labels={len(facts.labels)}", "ignore_mismatched_sizes=True"]
    ours = ["import engine.tuners  # makes the method known to peft"] if facts.own_tuner and not facts.plain else []
    adapter = f"{facts.name}/{FOLDER}" if facts.plain else facts.name
    return [*ours, "from peft import PeftModel",
            f"from transformers import {auto}, {reader}",
            f"{name} = {reader}.from_pretrained({_q(facts.name)})",
            f"base = {auto}.from_pretrained({', '.join(settings)})",
            f"model = PeftModel.from_pretrained(base, {_q(adapter)}).eval()"]


def ask_lines(facts: Facts, said: Mapping[str, str] | None = None, turns: Sequence[Mapping[str, str]] = (),
              options: Mapping[str, Any] | None = None) -> list[str]:
    """Return the lines of Python that ask the loaded `model` something, by task.

    `said` is what is asked, by role, and `turns` a conversation; without them a person is told what to write where.
    `options` are fields of the task's `asking`, as they were chosen; those of writing become settings of `generate`.
    """
    given = {role: text for role, text in (said or {}).items() if text}
    if facts.task == "causal_lm":
        return _chat(facts, turns, options or {})
    if facts.task == "seq2seq":
        return _writing(facts, given, options or {})
    asking = {"token_classification": _tagging, "question_answering": _answering,
              "image_classification": _seeing}.get(facts.task)
    if asking is not None:
        return asking(facts, given)
    texts = _q(given.get("text", "Write your text here."))
    if "text_pair" in given or (not given and "text_pair" in facts.columns):
        texts += ", " + _q(given.get("text_pair", "And the second one here."))
    lines = [f'inputs = tokenizer({texts}, return_tensors="pt"{_cut(facts)})', "logits = model(**inputs).logits[0]"]
    if facts.problem == "regression":
        return [*lines, "print(float(logits))"]
    lines.insert(0, f"labels = {json.dumps(list(facts.labels), ensure_ascii=False)}")
    if facts.problem == "multi_label":
        return [*lines, "print([label for label, p in zip(labels, logits.sigmoid().tolist()) if p >= 0.5])"]
    return [*lines, "print(dict(zip(labels, logits.softmax(-1).tolist())))"]


def _chat(facts: Facts, turns: Turns, options: Mapping[str, Any]) -> list[str]:
    if facts.chat_template and "text" not in facts.columns:
        asked = [dict(turn) for turn in turns] or [{"role": "user", "content": "Write your message here."}]
        first = [f"messages = {json.dumps(asked, ensure_ascii=False)}",
                 'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt",',
                 "                                       return_dict=True)"]
    else:
        text = "\n\n".join(turn["content"] for turn in turns) or "Once upon a time"
        first = [f'inputs = tokenizer({_q(text)}, return_tensors="pt", return_token_type_ids=False)']
    before, settings = _sampling(options)
    return [*before, *first, f"answer = model.generate(**inputs, {settings})[0][inputs[\"input_ids\"].shape[1]:]",
            "print(tokenizer.decode(answer, skip_special_tokens=True))"]


def _sampling(options: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return the lines before, and the settings of `generate`, that draw words as `generate.Sampling` says."""
    if not options:
        return [], "max_new_tokens=100"
    chosen = Sampling.model_validate(options)
    length = f"max_new_tokens={chosen.max_new_tokens}"
    if not chosen.temperature:
        return [], f"{length}, do_sample=False"
    # transformers keeps to the 50 likeliest words unless it is told not to.
    return (["import torch", f"torch.manual_seed({chosen.seed})  # transformers draws in an order of its own"],
            f"{length}, do_sample=True, temperature={chosen.temperature:g}, top_p={chosen.top_p:g}, top_k=0")


def _seeing(facts: Facts, said: Said) -> list[str]:
    labels = json.dumps(list(facts.labels), ensure_ascii=False)
    return ["from PIL import Image", f"labels = {labels}",
            f'picture = Image.open({_q(said.get("image", "your picture.jpg"))}).convert("RGB")',
            'inputs = processor(images=picture, return_tensors="pt")', "logits = model(**inputs).logits[0]",
            "print(dict(zip(labels, logits.softmax(-1).tolist())))"]


def _tagging(facts: Facts, said: Said) -> list[str]:
    labels = json.dumps(list(facts.labels), ensure_ascii=False)
    text = _q(said.get("tokens", "Write your text here."))
    return [f"labels = {labels}", f'inputs = tokenizer({text}, return_tensors="pt"{_cut(facts)})',
            "best = model(**inputs).logits[0].argmax(-1).tolist()",
            'tokens = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])',
            "# The tag of a word is that of its first token.",
            "print([(token, labels[i]) for token, i in zip(tokens, best)])"]


def _answering(facts: Facts, said: Said) -> list[str]:
    cut = f', truncation="only_second", max_length={facts.max_length}' if facts.max_length else ""
    asked, passage = said.get("question", "Write your question here?"), said.get("context", "And the passage here.")
    return [f'inputs = tokenizer({_q(asked)}, {_q(passage)}, return_tensors="pt"{cut})',
            "scores = model(**inputs)",
            "first, last = scores.start_logits.argmax(), scores.end_logits.argmax()",
            'print(tokenizer.decode(inputs["input_ids"][0, first:last + 1], skip_special_tokens=True))']


def _writing(facts: Facts, said: Said, options: Mapping[str, Any]) -> list[str]:
    tensors = f'return_tensors="pt", return_token_type_ids=False{_cut(facts)}'
    return [f'inputs = tokenizer({_q(said.get("source", "Write your text here."))}, {tensors})',
            f"answer = model.generate(**inputs, {_searching(options)})[0]",
            "print(tokenizer.decode(answer, skip_special_tokens=True))"]


def _searching(options: Mapping[str, Any]) -> str:
    """Return the settings of `generate` that look for a text as `searching.Searching` says."""
    if not options:
        return "max_new_tokens=128"
    chosen = Searching.model_validate(options)
    settings = [f"max_new_tokens={chosen.max_new_tokens}", "do_sample=False", f"num_beams={chosen.num_beams}"]
    settings += [f"length_penalty={chosen.length_penalty:g}"] if chosen.num_beams > 1 else []
    settings += [f"no_repeat_ngram_size={chosen.no_repeat}"] if chosen.no_repeat else []
    return ", ".join(settings)


def _cut(facts: Facts) -> str:
    return f", truncation=True, max_length={facts.max_length}" if facts.max_length else ""


def licence_note(facts: Facts) -> str:
    """Return LICENCE-NOTE.txt: what is known about the rights in the base model and in the data, and what is not."""
    base = (f"The base model {facts.base} is offered under {facts.licence}." if facts.licence else
            f"The licence of the base model {facts.base} was not recorded. Look it up before you pass this on.")
    kept = ("This folder holds no weights of the base model itself, only what was trained on top of them. Terms of the "
            "base model may still reach to what is made with it." if facts.kind == "adapter" else
            "This folder holds the base model's weights, changed by training: its licence applies to them.")
    data = f"the dataset '{facts.dataset}'" if facts.dataset else "data that was not named"
    if facts.composed:
        data = "the data of the adapters it was combined of"
    return (f"{base}\n{kept}\n\nIt was trained on {data}. Rights in that data are not recorded here. A model can "
            "repeat parts of the\ntexts it was trained on, names and addresses included: check both before you publish "
            "it.\n")


def _origin(facts: Facts) -> str:
    what = "A PEFT adapter" if facts.kind == "adapter" else "A fine-tuned model"
    kind = methods.every().get(facts.method)
    method = kind.card.title if kind else facts.method
    how = f", {facts.composed}" if facts.composed else f", trained with {method}" if method else ""
    lines = [f"{what} for {facts.task.replace('_', ' ')} on `{facts.base}`{how}."]
    if facts.note:
        lines.append(facts.note)
    if facts.dataset:
        lines.append(f"{'Measured on' if facts.composed else 'Training data'}: {facts.dataset}.")
    if facts.metrics:
        scores = ", ".join(f"{name} {value:.4g}" for name, value in sorted(facts.metrics.items()))
        lines.append(f"On the evaluation rows: {scores}.")
    trained, total = facts.parameters.get("trained"), facts.parameters.get("total")
    if trained and total:
        lines.append(f"Trained parameters: {trained:,} of {total:,} ({100 * trained / total:.3g} %).")
    return "\n".join(lines)


def _requirements(facts: Facts) -> str:
    packages = "peft transformers torch" if facts.kind == "adapter" else "transformers torch"
    if facts.plain:
        return (f"The folder `{facts.name}/{FOLDER}/` holds the same prompt as peft itself saves one. "
                f"`pip install {packages}`, then, in the folder that holds `{facts.name}/`:")
    if facts.own_tuner:
        known = methods.every().get(facts.method)
        merged = ("Merged into its base model, on the adapter's page or by `peft-studio adapters merge`, it needs "
                  "transformers alone.\n\n") if known is not None and known.card.mergeable else ""
        return (f"{merged}peft by itself does not read adapters of this kind; PEFT Studio's package makes them known "
                "to it. Run `pip install .` in the studio's own folder (its source), then, in the folder that holds "
                f"`{facts.name}/`:")
    return f"`pip install {packages}`, then, in the folder that holds `{facts.name}/`:"


def _base_hint(facts: Facts) -> str:
    if facts.local:
        return (f"The base model is the local folder `{facts.base}`, which has no public address: in the line that "
                f"loads `base`, put the path of that folder in the place of `{facts.base}`.")
    return (f"The line that loads `base` fetches `{facts.base}` from the Hugging Face Hub. To use a copy on your disk, "
            "put the path of its folder in the place of that name.")


_AGAIN = "all settings of the run; it can be trained again"


def _files(facts: Facts) -> str:
    weights = ("`adapter_config.json`, `adapter_model.safetensors`: the adapter, as peft saves it" if
               facts.kind == "adapter" else "`config.json`, `model*.safetensors`: the model, as transformers saves it")
    return "\n".join([
        f"- {weights}", "- `preprocessor_config.json`: how images become pixels" if
        facts.task == "image_classification" else
        "- `tokenizer*`, `chat_template.jinja` (if any): how text becomes tokens",
        *([f"- `{FOLDER}/`: the prompt as peft itself saves one"] if facts.plain else []),
        "- `studio.json`: task, labels and columns",
        f"- `spec.json`: {'how it was combined' if facts.composed else _AGAIN}",
        "- `environment.json`: versions, hardware and hashes of the run",
        "- `LICENCE-NOTE.txt`: base model and data", "- `SHA256SUMS`: check with `sha256sum -c SHA256SUMS`"])


def _fence(lines: list[str]) -> str:
    return "\n".join(["```python", *lines, "```"])


def _q(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
