"""The Train page's preview card: how long one change takes, from the event a browser sends to its answer."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import httpx

from bench import server
from bench.report import Row, quantile
from bench.server import Page

LIMIT = 100
ROWS, LABELS = 10_000, 8


def measure(quick: bool) -> list[Row]:
    """Return the rows, in milliseconds: the page's own event for a small model and one of 7B, and the API."""
    changes = 12 if quick else 60
    with server.data_folder() as folder:
        shapes = _shapes()
        with server.web(folder) as process:
            dataset, chats = _datasets()
            rows = []
            for title, ref, task, rows_of in (("MiniLM", "local/minilm", "text_classification", dataset),
                                              ("7B Llama", "local/llama-7b", "causal_lm", chats)):
                _store(ref, shapes[ref])
                taken = _changes(process.address, f"/train?dataset={rows_of}&task={task}&model={ref}", changes)
                rows.append(Row(f"Preview card: one change, {title}, p95", quantile(taken, 0.95), "ms", LIMIT,
                                note=f"{changes} changes, median {quantile(taken, 0.5):.0f} ms"))
                asked = _asked(process.address, ref, task, rows_of, changes)
                rows.append(Row(f"POST /breakdown, {title}, p95", quantile(asked, 0.95), "ms", LIMIT,
                                note=f"{changes} requests, median {quantile(asked, 0.5):.0f} ms"))
    return rows


def _shapes() -> dict[str, dict[str, Any]]:
    """Return the shapes of MiniLM and of a Llama of 6.7 billion parameters, built without weights."""
    from transformers import BertConfig, LlamaConfig

    from engine import skeleton

    small = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    large = LlamaConfig(vocab_size=32_000, hidden_size=4096, intermediate_size=11_008, num_hidden_layers=32,
                        num_attention_heads=32, max_position_embeddings=4096)
    with skeleton.quiet():
        return {ref: skeleton.shape_of(config).model_dump(mode="json")
                for ref, config in (("local/minilm", small), ("local/llama-7b", large))}


def _store(ref: str, shape: dict[str, Any]) -> None:
    from db import models, users

    models.create(users.local(), ref=ref, title=ref.partition("/")[2], source="local", state="ready", shape=shape)


def _datasets() -> tuple[str, str]:
    """Make the rows of two datasets that were read: labelled texts and conversations; returns their ids."""
    from db import datasets, users

    user = users.local()
    stats = {"rows": ROWS, "label_counts": {f"label {number}": ROWS // LABELS for number in range(LABELS)}}
    texts = datasets.create(user, name="Texts", state="ready", rows=ROWS, task="text_classification", stats=stats,
                            columns={"text": "text", "label": "label"}, source={"columns": ["text", "label"]})
    chats = datasets.create(user, name="Chats", state="ready", rows=ROWS, task="causal_lm", stats={"rows": ROWS},
                            columns={"messages": "messages"}, source={"columns": ["messages"]})
    return texts.id, chats.id


def _changes(address: str, path: str, count: int) -> list[float]:
    """Open the page and move its rank slider `count` times; returns milliseconds of each answer."""
    page = Page(address, path)
    opening = max(page.triggered("load"), key=lambda one: len(one["outputs"]))
    values = dict(zip(opening["outputs"], page.send(opening), strict=True))
    [moved] = page.triggered("input", "train-settings")
    taken = []
    for number in range(count):
        data: list[Any] = copy.deepcopy([values.get(one) for one in moved["inputs"]])
        data[-1]["values"]["method.lora"]["r"] = 1 + number % 64
        began = time.monotonic()
        answer = page.send(moved, data)
        taken.append((time.monotonic() - began) * 1000)
        if "Trained" not in str(answer[1]):
            raise RuntimeError(f"the card shows nothing: {str(answer)[:500]}")
    page.close()
    return taken


def _asked(address: str, ref: str, task: str, dataset: str, count: int) -> list[float]:
    taken = []
    with httpx.Client(base_url=address, timeout=60) as client:
        for number in range(count):
            spec = {"task": task, "model": {"id": ref}, "data": {"train": dataset},
                    "method": {"name": "lora", "r": 1 + number % 64}, "training": {"max_length": 512}}
            began = time.monotonic()
            answer = client.post("/api/v1/breakdown", content=json.dumps(spec),
                                 headers={"Content-Type": "application/json"})
            taken.append((time.monotonic() - began) * 1000)
            if not answer.json().get("breakdown"):
                raise RuntimeError(f"no breakdown: {answer.text[:500]}")
    return taken
