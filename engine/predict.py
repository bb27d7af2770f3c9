"""The playground's engine: one base model in memory, any number of adapters on it, replies and text out."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from engine import adapter, generate, images, models, skeleton, tasks, weights
from engine.adapter import Trained
from engine.errors import Refused
from engine.generate import Answer
from engine.tasks.base import Task
from engine.tasks.terms import Asked, Reply

if TYPE_CHECKING:
    import torch

#: Rows asked at once; between such parts a person hears of those before, and can stop.
PART = 16

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


class Answers(TypedDict):
    """What one model said about the rows, how long it took, and how many tokens it wrote (0 where it writes none)."""

    replies: list[Reply]
    seconds: float
    tokens: int


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

    def respond(self, adapter_ids: Sequence[str | None], rows: Sequence[Mapping[str, Any]], *,
                options: Mapping[str, Any] | None = None,
                on_reply: Callable[[int, list[Reply]], None] = lambda place, replies: None,
                cancelled: Callable[[], bool] = lambda: False) -> Iterator[Answers]:
        """Yield for each adapter its replies to the rows; None stands for the base itself: an untrained head is noted.

        A row maps roles to values, as `Task.asks` lists them; an image is a path or the bytes of a file. `options` are
        fields of `Task.asking`. `on_reply` is handed an adapter's place and some of its replies as they are made.
        Stops early, with what was said so far, when `cancelled()`. Raises NotAttached and what the task raises.
        """
        for place, adapter_id in enumerate(adapter_ids):
            if cancelled():
                break
            member = self._bare(adapter_ids) if adapter_id is None else self.member(adapter_id)
            limit = min((n for n in (member.trained.max_length, self.room(member)) if n), default=0)
            asked = Asked(model=member.model, tokenizer=member.tokenizer, labels=member.labels, device=self.device,
                          limit=limit, columns=member.trained.columns, options=dict(options or {}),
                          cancelled=cancelled)
            yield _answers(member, self.task_name, asked, rows, functools.partial(on_reply, place))

    def chat(self, adapter_id: str | None, messages: Sequence[dict[str, str]], *, temperature: float = 0.0,
             top_p: float = 1.0, max_new_tokens: int = 256, seed: int | None = 0,
             on_text: Callable[[str], None] = lambda text: None,
             cancelled: Callable[[], bool] = lambda: False) -> Answer:
        """Answer a conversation with one adapter, or the base for None, handing each piece of text to `on_text`.

        A model trained on plain text goes on writing the messages' text. A base without a chat template takes that of
        the first adapter here that has one, or goes on writing too. An answer ends where the model's context does.
        Raises PromptTooLong, PromptEmpty, NotAttached.
        """
        member = self._plain() if adapter_id is None else self.member(adapter_id)
        start = generate.prompt(member.tokenizer, messages, continues="text" in member.trained.columns,
                                eos=_ends(self.base))
        start.note = " ".join(text for text in (member.note, start.note) if text)
        return generate.write(_stepper(member.model), member.tokenizer, start, temperature=temperature, top_p=top_p,
                              max_new_tokens=max_new_tokens, seed=seed, on_text=on_text, cancelled=cancelled,
                              limit=self.room(member), device=self.device)

    def _load(self, path: Path, task: Task, labels: list[str], quantization: str | None) -> models.Loaded:
        return models.load(path, task, labels, dtype=self.dtype, quantization=quantization, device=self.device)

    def member(self, adapter_id: str) -> Member:
        """Return an attached adapter as a model that can be asked; raises NotAttached."""
        if adapter_id not in self._members:
            raise NotAttached(adapter_id, adapter=adapter_id)
        return self._members[adapter_id]

    def room(self, member: Member) -> int:
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
        """Return the base as one that is asked like its adapters; without a head of its own it gets a random one."""
        own = Trained(folder=self.path, kind="model", task=self.task_name)
        beside = [self._members[i] for i in adapter_ids if i in self._members] or list(self._members.values())
        if beside and (self.new_heads or not beside[0].trained.labels):
            own = beside[0].trained.model_copy(update={"folder": self.path, "kind": "model"})
        if not self.new_heads:
            return Member(self.base, self.tokenizer, own, labels=_names(self.base.config))
        labels = beside[0].labels if beside else ["0", "1"]
        own = own.model_copy(update={"labels": labels})
        return Member(adapter.with_new_heads(self.base, own, self.new_heads, self.task_name), self.tokenizer, own,
                      note=UNTRAINED, labels=labels)


def _answers(member: Member, task_name: str, asked: Asked, rows: Sequence[Mapping[str, Any]],
             on_reply: Callable[[list[Reply]], None]) -> Answers:
    """Ask a model part by part, so that it can be stopped and heard in between."""
    import torch

    task = member.trained.make_task(task_name)
    replies: list[Reply] = []
    began = time.perf_counter()
    for start in range(0, len(rows), PART):
        if asked.cancelled():
            break
        with torch.inference_mode():
            part = task.respond(asked, rows[start:start + PART])
        for reply in part:
            reply["note"] = " ".join(text for text in (member.note, reply["note"]) if text)
        replies += part
        on_reply(part)
    return Answers(replies=replies, seconds=time.perf_counter() - began, tokens=_written(asked.tokenizer, replies))


def _written(tokenizer: Any, replies: Sequence[Reply]) -> int:
    """Return how many tokens were written: those of replies that are prose."""
    texts = [str(reply["drawing"]["text"]) for reply in replies if reply["drawing"].get("kind") == "prose"]
    return sum(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else 0


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
