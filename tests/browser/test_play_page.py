"""The playground for tasks other than sorting and chatting: words, passages and images, asked side by side."""

from __future__ import annotations

import json
import re
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pictures
import pytest
from journey import LONG
from playwright.sync_api import expect
from watching import wait_for

TAGGED = "".join(f"{name}\tB-PER\nlives\tO\nin\tO\n{town}\tB-LOC\n.\tO\n\n" for name in ("Tim", "Lily", "Ada", "Max")
                 for town in ("Rome", "Oslo", "Bonn", "Paris", "Delhi", "Lima"))
SMALL = {"epochs": 1, "batch_size": 8, "max_length": 32, "precision": "fp32", "learning_rate": 1e-3}


def call(studio: Any, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(f"{studio.url}/api/v1/{path}", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def look(studio: Any, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{studio.url}/api/v1/{path}", timeout=60) as response:
        return json.load(response)


def send(studio: Any, name: str, content: bytes) -> str:
    """Upload a file as a dataset and return its id once it is ready."""
    mark = uuid.uuid4().hex
    body = (f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + content
            + f"\r\n--{mark}--\r\n".encode())
    request = urllib.request.Request(f"{studio.url}/api/v1/datasets", body,
                                     {"Content-Type": f"multipart/form-data; boundary={mark}"})
    with urllib.request.urlopen(request, timeout=60) as response:
        id = json.load(response)["id"]
    wait_for(lambda: look(studio, f"datasets/{id}")["state"] in ("ready", "failed"), 120, f"{name} is read")
    return id


def adapter(studio: Any, name: str, content: bytes, model: str, task: str) -> str:
    """Train LoRA on a file for a moment and return the adapter's id."""
    dataset = send(studio, name, content)
    added = call(studio, "models", {"id": model})
    wait_for(lambda: look(studio, f"models/{added['id']}")["state"] in ("ready", "failed"), 120, f"{model} is measured")
    run = call(studio, "runs", {"task": task, "model": {"id": model}, "data": {"train": dataset},
                                "method": {"name": "lora", "r": 4}, "training": SMALL})
    wait_for(lambda: look(studio, f"runs/{run['id']}")["state"] in ("succeeded", "failed"), 180, f"{name} is learned")
    return look(studio, f"adapters?run={run['id']}")["items"][0]["id"]


@pytest.fixture(scope="module")
def tagger(studio: Any) -> str:
    return adapter(studio, "people.conll", TAGGED.encode(), "tiny/bert", "token_classification")


@pytest.fixture(scope="module")
def seer(studio: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    archive = pictures.archive(tmp_path_factory.mktemp("seen"))
    return adapter(studio, "pictures.zip", archive.read_bytes(), "tiny/vit", "image_classification")


def test_words_are_marked_by_base_and_adapter_side_by_side(desktop, studio, tagger):
    page = desktop.page
    page.goto(f"/playground?adapter={tagger}")
    words = page.get_by_label("Words", exact=True)
    words.fill("Tim <b>lives</b> in Rome.")
    page.get_by_role("button", name="Ask", exact=True).click()
    players = page.locator("#playground-answers .ps-player")
    expect(players).to_have_count(2)
    for player in players.all():
        expect(player.locator(".ps-timing")).to_have_text(re.compile(r"\d+ ms\.|\d+\.\d s\."), timeout=LONG)
        expect(player.locator(".ps-marked")).to_contain_text("Rome")
        expect(player.locator(".ps-marked b")).to_have_count(0)
    expect(players.first).to_contain_text("no head trained")
    page.get_by_text("Do the same from a script").click()
    script = page.locator("#playground-script")
    expect(script).to_contain_text("peft-studio predict --adapter base --adapter")
    expect(script).to_contain_text("tokens=Tim <b>lives</b> in Rome.")
    expect(script).to_contain_text("PeftModel.from_pretrained")
    desktop.no_serious_violations()


def test_an_evaluation_row_is_asked_with_a_click_and_its_answer_is_told(phone, studio, tagger):
    page = phone.page
    page.goto(f"/playground?adapter={tagger}")
    page.get_by_role("radiogroup", name="Evaluation rows to try").get_by_role("radio").first.check()
    expect(page.get_by_label("Words", exact=True)).to_have_value(re.compile("lives in"))
    expect(page.locator("#playground-answers .ps-expected")).to_contain_text("[LOC]", timeout=LONG)
    page.get_by_label("Words", exact=True).fill("Something else")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#playground-answers .ps-marked").last).to_contain_text("Something", timeout=LONG)
    expect(page.locator("#playground-answers .ps-expected")).to_have_count(0)
    phone.fits()
    phone.no_serious_violations()


def test_an_image_is_shown_small_asked_about_and_named_when_it_is_broken(desktop, studio, seer, tmp_path: Path):
    page = desktop.page
    page.goto(f"/playground?adapter={seer}")
    (tmp_path / "red one.png").write_bytes(pictures.data(pictures.noise("reddish", 99)))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    chooser = page.locator("#playground-image input[type=file]")
    chooser.set_input_files(tmp_path / "red one.png")
    expect(page.locator("#playground-thumbnail img")).to_be_visible(timeout=LONG)
    expect(page.locator("#playground-thumbnail")).to_contain_text("40 × 32 pixels")
    page.get_by_role("button", name="Ask", exact=True).click()
    bars = page.locator("#playground-answers .ps-player").last.get_by_role("listitem")
    expect(bars).to_have_count(2, timeout=LONG)
    desktop.no_serious_violations()
    page.locator("#playground-image").get_by_role("button", name=re.compile("Clear|Remove")).first.click()
    expect(page.locator("#playground-thumbnail img")).to_have_count(0)
    chooser.set_input_files(tmp_path / "broken.png")
    expect(page.locator("#playground-error")).to_contain_text("broken.png", timeout=LONG)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#playground-error")).to_contain_text("Fill in: Image.", timeout=LONG)
