"""The playground's engine: one base model in memory, any number of adapters on it, labels and text out."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from engine import adapter, generate, images, models, skeleton, tasks, weights
from engine.adapter import Trained
from engine.batches import pad, split
from engine.errors import Refused
from engine.generate import Answer
from engine.tasks.base import Encoded, Task

if TYPE_CHECKING:
    import torch

#: Padded tokens of one batch of classification.
BUDGET = 4096
UNLIMITED = 1 << 30

UNTRAINED = ("The base model has no head trained for this task: this one has random weights, "
             "so the answer means nothing. It shows where training starts.")


class NotAttached(Refused):
    """The adapter '{adapter}' is not loaded."""

    kind = "adapter_not_attached"
    try_this = "Load the adapter first."


class WrongTask(Refused):
    """The adapter '{adapter}' was trained for {theirs}, this model is loaded for {ours}."""

    kind = "task_mismatch"
    try_this = "Choose adapters of one task."


class Verdict(TypedDict):
    """What a model says about one row. `probabilities` is empty for regression, whose `label` is the number."""

    label: str
    probabilities: dict[str, float]
    note: str


@dataclass
class Member:
    """A model that can be asked: the base, the base with an adapter, or a model of its own."""

    model: Any
    tokenizer: Any
    trained: Trained
    note: str = ""
    labels: list[str] = field(default_factory=list[Any])


class Player:
    """A base model loaded once, and the adapters attached to it, which share its tensors."""

    def __init__(self, model_path: Path, task_name: str, *, dtype: str = "auto", device: str | None = None,
                 quantization: str | None = None) -> None:
        """Load the model in `model_path` for `task_name`; `dtype` is auto, fp32, bf16 or fp16. Raises ModelError."""
        import torch

        from engine import precision

        self.path, self.task_name = model_path, task_name
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = precision.choose(_precision(dtype), self.device, whole=False).base
        loaded = self._load(model_path, tasks.get(task_name)(name=task_name), _own_labels(model_path), quantization)
        self.base: Any = loaded.model.eval().requires_grad_(False)
        self.tokenizer: Any = _tokenizer(loaded, model_path, task_name)
        self.limit = loaded.shape.max_length
        stored = list(weights.tensors(model_path))
        self.new_heads = [head for head in loaded.heads if not any(name.startswith(f"{head}.") for name in stored)]
        self._members: dict[str, Member] = {}

    @property
    def attached(self) -> list[str]:
        """The ids of the attached adapters, in the order they came."""
        return list(self._members)

    def attach(self, adapter_id: str, folder: Path) -> None:
        """Load the adapter in `folder` onto the base, or a whole model beside it; an id in use is replaced.

        Raises AdapterMissing, AdapterMismatch, PickledAdapter, WrongTask.
        """
        trained = adapter.read(folder)
        if trained.task and trained.task != self.task_name:
            raise WrongTask(adapter_id, adapter=adapter_id, theirs=trained.task, ours=self.task_name)
        if trained.kind == "model":
            labels = trained.labels or _own_labels(folder)
            loaded = self._load(folder, trained.make_task(self.task_name), labels, None)
            model = loaded.model.eval().requires_grad_(False)
            member = Member(model, _tokenizer(loaded, folder, self.task_name), trained, labels=labels)
        else:
            model = adapter.attach(self.base, trained, task_name=self.task_name)
            labels = trained.labels or _names(model.config)
            member = Member(model, adapter.tokenizer(folder) or self.tokenizer, trained, labels=labels)
        self._members[adapter_id] = member

    def detach(self, adapter_id: str) -> None:
        """Forget an adapter and free its memory; an unknown id is no error."""
        self._members.pop(adapter_id, None)

    def bytes(self) -> int:
        """Return the bytes of all weights held, each shared tensor counted once."""
        import torch

        seen: dict[int, int] = {}
        for model in [self.base, *(member.model for member in self._members.values())]:
            for tensor in chain(model.parameters(), model.buffers()):
                storage = torch.Tensor.untyped_storage(tensor)
                seen[storage.data_ptr()] = storage.nbytes()
        return sum(seen.values())

    def classify(self, adapter_ids: Sequence[str | None], rows: Sequence[Mapping[str, Any]], *,
                 cancelled: Callable[[], bool] = lambda: False) -> list[list[Verdict]]:
        """Return for each adapter a verdict on each row; None stands for the base itself: an untrained head is noted.

        A row maps roles (`text`, `text_pair`) to text, or `image` to an image's path or bytes. What is longer than the
        adapter's maximum length is cut, as in training, and its note says so. Stops early, with the adapters done so
        far, when `cancelled()`.
        """
        answers: list[list[Verdict]] = []
        for adapter_id in adapter_ids:
            if cancelled():
                break
            member = self._bare(adapter_ids) if adapter_id is None else self._member(adapter_id)
            answers.append(self._verdicts(member, rows))
        return answers

    def chat(self, adapter_id: str | None, messages: Sequence[dict[str, str]], *, temperature: float = 0.0,
             top_p: float = 1.0, max_new_tokens: int = 256, seed: int | None = 0,
             on_text: Callable[[str], None] = lambda text: None,
             cancelled: Callable[[], bool] = lambda: False) -> Answer:
        """Answer a conversation with one adapter, or the base for None, handing each piece of text to `on_text`.

        A model trained on plain text goes on writing the messages' text. A base without a chat template takes that of
        the first adapter here that has one, or goes on writing too. An answer ends where the model's context does.
        Raises PromptTooLong, PromptEmpty, NotAttached.
        """
        member = self._plain() if adapter_id is None else self._member(adapter_id)
        start = generate.prompt(member.tokenizer, messages, continues="text" in member.trained.columns,
                                eos=_ends(self.base))
        start.note = " ".join(text for text in (member.note, start.note) if text)
        return generate.write(_stepper(member.model), member.tokenizer, start, temperature=temperature, top_p=top_p,
                              max_new_tokens=max_new_tokens, seed=seed, on_text=on_text, cancelled=cancelled,
                              limit=self._room(member), device=self.device)

    def _load(self, path: Path, task: Task, labels: list[str], quantization: str | None) -> models.Loaded:
        return models.load(path, task, labels, dtype=self.dtype, quantization=quantization, device=self.device)

    def _member(self, adapter_id: str) -> Member:
        if adapter_id not in self._members:
            raise NotAttached(adapter_id, adapter=adapter_id)
        return self._members[adapter_id]

    def _room(self, member: Member) -> int:
        """Return how many tokens of text the model can read; a soft prompt takes places of its own. 0: no limit."""
        config = getattr(member.model, "active_peft_config", None)
        prompt = getattr(config, "num_virtual_tokens", 0) if getattr(config, "is_prompt_learning", False) else 0
        # Those of our own tuners say it themselves.
        prompt = int(prompt or getattr(config, "places", 0))
        return self.limit - prompt if self.limit else 0

    def _plain(self) -> Member:
        """Return the base as a text generator, formatted like its adapters where it has no format of its own."""
        bare = Member(self.base, self.tokenizer, Trained(folder=self.path, kind="model"))
        taught = next((m for m in self._members.values() if m.tokenizer.chat_template), None)
        if not self.tokenizer.chat_template and taught is not None:
            bare.tokenizer = taught.tokenizer
            bare.note = "The base model has no chat template: its adapter's is used."
        return bare

    def _bare(self, adapter_ids: Sequence[str | None]) -> Member:
        """Return the base as a classifier; without a head of its own it gets a random one for the labels beside it."""
        own = Trained(folder=self.path, kind="model", task=self.task_name)
        if not self.new_heads:
            return Member(self.base, self.tokenizer, own, labels=_names(self.base.config))
        beside = [self._members[i] for i in adapter_ids if i in self._members] or list(self._members.values())
        if beside:
            own = beside[0].trained.model_copy(update={"folder": self.path, "kind": "model"})
        labels = beside[0].labels if beside else ["0", "1"]
        own = own.model_copy(update={"labels": labels})
        return Member(adapter.with_new_heads(self.base, own, self.new_heads, self.task_name), self.tokenizer, own,
                      note=UNTRAINED, labels=labels)

    def _verdicts(self, member: Member, rows: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        if tasks.get(self.task_name).reads == "images":
            return self._seen(member, rows)
        import torch

        limit = min((n for n in (member.trained.max_length, self._room(member)) if n), default=0)
        encoded, notes = _encode(member.trained.make_task(self.task_name), member, rows, limit)
        lengths = [len(row["input_ids"]) for row in encoded]
        # Decoders find the last word as the last id that is not the configured padding.
        known = (member.model.config.pad_token_id, member.tokenizer.pad_token_id)
        padding = int(next((i for i in known if i is not None), 0))
        fill = {"input_ids": padding, "token_type_ids": 0}
        verdicts: dict[int, Verdict] = {}
        for batch in split(range(len(encoded)), lengths, BUDGET):
            arrays = pad([encoded[i] for i in batch], fill)
            inputs = {name: torch.as_tensor(array, device=self.device) for name, array in arrays.items()}
            with torch.inference_mode():
                logits: Any = member.model(**inputs).logits.float().cpu()
            for i, scores in zip(batch, logits, strict=True):
                note = " ".join(text for text in (member.note, notes[i]) if text)
                verdicts[i] = _verdict(scores, member.labels, member.trained.problem, note)
        return [verdicts[i] for i in range(len(encoded))]


    def _seen(self, member: Member, rows: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """Return a verdict on each image."""
        import torch

        task: Any = member.trained.make_task(self.task_name)
        encoded = task.encode(images.asked(rows), {"image": "image"}, member.tokenizer, UNLIMITED, member.labels).rows
        verdicts: dict[int, Verdict] = {}
        for batch in split(range(len(encoded)), [task.length(row) for row in encoded], BUDGET):
            made = task.collate([encoded[i] for i in batch], 0)
            with torch.inference_mode():
                found: Any = task.logits(member.model, {name: value.to(self.device) for name, value in made.items()})
            verdicts |= {i: _verdict(scores, member.labels, "single_label", member.note)
                         for i, scores in zip(batch, found.float().cpu(), strict=True)}
        return [verdicts[i] for i in range(len(encoded))]


def _verdict(scores: Any, labels: Sequence[str], problem: str, note: str) -> Verdict:
    if problem == "regression":
        return Verdict(label=f"{float(scores.reshape(-1)[0]):.4g}", probabilities={}, note=note)
    chances: list[float] = (scores.sigmoid() if problem == "multi_label" else scores.softmax(-1)).tolist()
    named = dict(zip(labels, chances, strict=True))
    if problem == "multi_label":
        label = ", ".join(name for name, chance in named.items() if chance >= 0.5)
    else:
        label = max(named, key=named.__getitem__)
    return Verdict(label=label, probabilities=named, note=note)


def _encode(task: Task, member: Member, rows: Sequence[Mapping[str, str]],
            limit: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Tokenise rows exactly as training does, and say of each whether it was cut."""
    pa: Any = importlib.import_module("pyarrow")
    roles = ["text", *(["text_pair"] if any(row.get("text_pair") for row in rows) else [])]
    table = pa.table({role: [row.get(role) or "" for row in rows] for role in roles})
    columns = {role: role for role in roles}
    tokenise: Callable[..., Encoded] = cast(Any, task).encode
    whole = tokenise(table, columns, member.tokenizer, UNLIMITED, member.labels).rows
    cut = tokenise(table, columns, member.tokenizer, limit, member.labels).rows if limit else whole
    counts = [(len(short["input_ids"]), len(long["input_ids"])) for short, long in zip(cut, whole, strict=True)]
    return cut, [f"Only the first {read} of {there} tokens were read, as in training." if read < there else ""
                 for read, there in counts]


def _ends(model: Any) -> list[int]:
    settings = getattr(model, "generation_config", None)
    ends: int | list[int] | None = getattr(settings, "eos_token_id", None)
    return [] if ends is None else [int(i) for i in (ends if isinstance(ends, list) else [ends])]


def _stepper(model: Any) -> Callable[[torch.Tensor, Any], tuple[torch.Tensor, Any]]:
    """Return the function that feeds ids to `model` and gives the last token's logits and the grown cache."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    few = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(base.forward).parameters else {}
    config = getattr(model, "active_peft_config", None)
    # peft puts a soft prompt in front of every call; only the first one may have it.
    later = base if config is not None and config.is_prompt_learning else model

    def step(ids: torch.Tensor, cache: Any) -> tuple[torch.Tensor, Any]:
        if cache is None:
            out = model(input_ids=ids, use_cache=True, **few)
        else:
            out = later(input_ids=ids, past_key_values=cache, use_cache=True, **few)
        return out.logits[0, -1], out.past_key_values

    return step


def _names(config: Any) -> list[str]:
    return [str(config.id2label[i]) for i in sorted(config.id2label)]


def _own_labels(path: Path) -> list[str]:
    return _names(skeleton.config(path))


def _tokenizer(loaded: models.Loaded, path: Path, task_name: str) -> Any:
    if loaded.tokenizer is None:
        raise (images.NoProcessor if tasks.get(task_name).reads == "images" else weights.NoTokenizer)(path.name)
    return loaded.tokenizer


def _precision(dtype: str) -> Any:
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}.get(dtype, dtype)
