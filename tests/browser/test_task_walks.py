"""Each task from a real file to an answer in the playground, as a person goes; and a file predicted on the way."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from journey import LONG, add_folder, badge, choose, start, start_button, upload, value_of
from playwright.sync_api import Locator, Page, expect
from watching import DESKTOP, PHONE, Watched, watch

#: How long an answer took, as it is told of one that was written and of one that was not.
TOOK = re.compile(r"\d (ms|s)\b")


def cut(path: Path, lines: int, target: Path) -> Path:
    """Write the first lines of a file to `target`, byte for byte."""
    with path.open("rb") as file:
        target.write_bytes(b"".join(line for line, _ in zip(file, range(lines), strict=False)))
    return target


def cut_passages(path: Path, stories: int, target: Path) -> Path:
    """Write the first stories of a SQuAD file to `target`."""
    document = json.loads(path.read_text(encoding="utf-8"))
    target.write_text(json.dumps(document | {"data": document["data"][:stories]}), encoding="utf-8")
    return target


def packed(folder: Path, each: int, target: Path) -> Path:
    """Zip the first images of every part and class of a folder."""
    with zipfile.ZipFile(target, "w") as archive:
        for place in sorted(folder.glob("*/*/")):
            for path in sorted(place.iterdir())[:each]:
                archive.write(path, path.relative_to(folder.parent))
    return target


def read(page: Page, path: Path, task: str, columns: Mapping[str, str]) -> None:
    """Upload a file, and see that task and columns are guessed right."""
    upload(page, path)
    expect(badge(page)).to_have_text("Ready", timeout=LONG)
    expect(page.get_by_role("combobox", name="Task").locator("option:checked")).to_have_text(task)
    see(page, columns)


def see(page: Page, columns: Mapping[str, str]) -> None:
    """See that columns play these parts."""
    rows = page.get_by_role("region", name="First rows")
    for column, role in columns.items():
        expect(rows.get_by_role("columnheader", name=f"{column} {role}", exact=True)).to_be_visible()


def confirm(page: Page) -> None:
    """Confirm the columns and go on to the Train page."""
    page.get_by_role("button", name="Confirm these columns").click()
    expect(page.get_by_text("You confirmed these columns.")).to_be_visible()
    page.get_by_role("link", name="Train on it").click()
    page.wait_for_url("**/train?**")


def train(page: Page, *, updates: int, rate: float | None = None, **numbers: int) -> None:
    """Train for some updates with what is chosen, see the run succeed, and open the playground beside the base."""
    settings = page.locator("#train-settings")
    settings.get_by_role("radio", name="Advanced").check()
    for name, value in numbers.items():
        settings.get_by_label(name.replace("_", " ").capitalize(), exact=True).fill(str(value))
    if rate is not None:
        settings.get_by_label("Learning rate", exact=True).select_option(label="Custom")
        page.locator("#train-settings-training-learning_rate-own").fill(str(rate))
    settings.get_by_label("Max updates", exact=True).select_option(label="Custom")
    page.locator("#train-settings-training-max_steps-own").fill(str(updates))
    expect(page).to_have_url(re.compile(rf"max_steps%22%3A{updates}\D"), timeout=60_000)
    expect(start_button(page)).to_be_enabled(timeout=LONG)
    start(page)
    expect(badge(page)).to_have_text("Succeeded", timeout=LONG)
    expect(page.locator("#run-live")).to_contain_text(re.compile(rf"update {updates}\b"))
    page.get_by_role("link", name="Try it beside the base").click()
    page.wait_for_url("**/playground?adapter=*")


def answered(page: Page) -> Locator:
    """Return the adapter's answer, once base and adapter have both said theirs."""
    players = page.locator("#playground-answers .ps-player")
    expect(players).to_have_count(2)
    for player in players.all():
        expect(player.locator(".ps-timing")).to_have_text(TOOK, timeout=LONG)
    return players.last


@pytest.fixture(scope="module")
def sorter(browser, studio, shared, tmp_path_factory) -> str:
    """The id of an adapter that sorts questions by what is asked for: LoRA on MiniLM, from a file of trec6."""
    context = browser.new_context(viewport=DESKTOP, base_url=studio.url)
    watched = watch(context)
    page = watched.page
    path = cut(shared / "data" / "trec6" / "train.txt", 240, tmp_path_factory.mktemp("trec") / "questions.txt")
    read(page, path, "Text classification", {"text": "Text", "label": "Label"})
    confirm(page)
    choose(page, "starter/minilm-l6", "LoRA")
    train(page, updates=12, max_length=32)
    adapter = value_of(page, "adapter")
    watched.check()
    context.close()
    return adapter


def test_questions_are_sorted(desktop: Watched, sorter: str) -> None:
    page = desktop.page
    page.goto(f"/playground?adapter={sorter}")
    page.get_by_label("Text", exact=True).fill("Who wrote the music of Swan Lake ?")
    page.get_by_role("button", name="Ask", exact=True).click()
    bars = answered(page).get_by_role("listitem")
    expect(bars).to_have_count(6)
    shares = [float(re.findall(r"([\d.]+)%", text)[-1]) for text in bars.all_inner_texts()]
    assert abs(sum(shares) - 100) < 0.5, shares


def test_names_are_marked_in_a_sentence(desktop: Watched, shared: Path) -> None:
    page = desktop.page
    read(page, shared / "data" / "crossner" / "politics" / "train.txt", "Tagging words",
         {"tokens": "Words", "tags": "Tags"})
    confirm(page)
    choose(page, "starter/minilm-l6", "P-tuning v2")
    train(page, updates=24, max_length=48, rate=0.03)
    page.get_by_label("Words", exact=True).fill("The Labour Party of Tony Blair won the election in Scotland .")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(answered(page).locator(".ps-marked mark", has_text="(")).not_to_have_count(0)


def test_an_answer_is_marked_in_a_passage(desktop: Watched, shared: Path, tmp_path: Path) -> None:
    page = desktop.page
    path = cut_passages(shared / "data" / "fairytaleqa" / "val_squad.json", 2, tmp_path / "tales.json")
    read(page, path, "Answers from a passage", {"question": "Question", "context": "Passage", "answers": "Answers"})
    confirm(page)
    choose(page, "starter/minilm-l6", "LoRA")
    train(page, updates=4, max_length=128)
    page.get_by_label("Question", exact=True).fill("Who lived in the house?")
    page.get_by_label("Passage", exact=True).fill("Once upon a time an old woman lived in a small house in the wood.")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(answered(page).locator(".ps-marked mark")).to_have_count(1)


def test_sums_are_worked_out_in_a_conversation(desktop: Watched, shared: Path, tmp_path: Path) -> None:
    page = desktop.page
    model = add_folder(page, shared / "models" / "stories260k")
    path = cut(shared / "data" / "gsm8k" / "train.jsonl", 120, tmp_path / "sums.jsonl")
    read(page, path, "Chat and text generation", {"question": "Prompt", "answer": "Completion"})
    confirm(page)
    choose(page, model, "LoRA")
    train(page, updates=4, max_length=256)
    page.get_by_label("Message", exact=True).fill("Tom has 3 apples and buys 4. How many has he?")
    page.get_by_role("button", name="Send").click()
    talk = page.locator("#playground-talk .ps-player")
    expect(talk).to_have_count(2)
    for player in talk.all():
        expect(player).to_contain_text(re.compile(r"\d+ tokens? in"), timeout=LONG)
        expect(player.locator(".ps-said-assistant")).to_contain_text(re.compile(r"Model\s*\S"))
    page.go_back()
    expect(page.get_by_role("heading", name="What it writes")).to_be_visible()
    desktop.no_serious_violations()


def test_a_sentence_is_written_about_a_restaurant(desktop: Watched, shared: Path, tmp_path: Path) -> None:
    page = desktop.page
    path = cut(shared / "data" / "e2e_nlg" / "devset.csv", 160, tmp_path / "restaurants.csv")
    read(page, path, "Chat and text generation", {"mr": "Prompt", "ref": "Completion"})
    page.get_by_role("combobox", name="Task").select_option("seq2seq")
    see(page, {"mr": "Source", "ref": "Target"})
    confirm(page)
    page.goto(f"{page.url}&model=tiny/t5")
    choose(page, "tiny/t5", "Full fine-tuning")
    train(page, updates=50, rate=0.02, batch_size=8, max_length=32, max_target_length=24)
    page.get_by_label("Source", exact=True).fill("name[Aromi], eatType[pub], area[riverside]")
    page.get_by_role("button", name="Ask", exact=True).click()
    written = answered(page).locator(".ps-prose")
    expect(written).to_have_text(re.compile(r"\w"))
    expect(written).not_to_contain_text("(nothing)")


def test_an_insect_is_recognised_on_a_photograph(desktop: Watched, shared: Path, tmp_path: Path) -> None:
    page = desktop.page
    model = add_folder(page, shared / "models" / "mobilenet-v2")
    path = packed(shared / "data" / "ants_bees", 16, tmp_path / "insects.zip")
    read(page, path, "Image classification", {"image": "Image", "label": "Label"})
    confirm(page)
    choose(page, model, "Head only")
    train(page, updates=6)
    photograph = sorted((shared / "data" / "ants_bees" / "val" / "bees").iterdir())[-1]
    page.locator("#playground-image input[type=file]").set_input_files(photograph)
    expect(page.locator("#playground-thumbnail img")).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(answered(page).get_by_role("listitem")).to_have_count(2)


def test_a_file_comes_back_with_a_prediction_for_every_row(desktop: Watched, sorter: str, tmp_path: Path) -> None:
    page = desktop.page
    asked = ["Who wrote Hamlet ?", 'What is a "quark", in short ?', "Where is Oslo ?", "How many people live there ?"]
    with (tmp_path / "new.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["number", "text"], *enumerate(asked)])
    page.goto(f"/adapters?adapter={sorter}")
    page.locator("#adapter-steps").get_by_role("link", name="Predict a file").click()
    page.wait_for_url(f"**/predict?adapter={sorter}*")
    page.locator("#predict-file input[type=file]").set_input_files(tmp_path / "new.csv")
    expect(page.locator("#predict-columns").get_by_role("columnheader", name="text Text")).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Predict every row").click()
    page.wait_for_url("**/predict?batch=*", timeout=LONG)
    with page.expect_download(timeout=LONG) as saving:
        page.get_by_role("link", name="Download the csv").click(timeout=LONG)
    shown = page.get_by_role("region", name="First rows with their predictions")
    expect(shown.get_by_role("columnheader")).to_have_text(["prediction", "score", "text", "note", "number"])
    desktop.no_serious_violations()
    page.set_viewport_size(PHONE)
    desktop.fits()
    with Path(saving.value.path()).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == asked
    assert list(rows[0]) == ["number", "text", "prediction", "score", "note"], list(rows[0])
    assert {row["prediction"] for row in rows} <= {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}, rows
    assert all(0 < float(row["score"]) <= 1 and not row["note"] for row in rows), rows
