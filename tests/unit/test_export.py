"""A downloaded adapter works elsewhere by what its own README says, and tells nothing about this machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import made_adapters as made
import pytest

from engine.adapter import AdapterMissing
from engine.errors import Cancelled, NotEnough
from engine.export import package
from engine.export.package import zip_adapter
from engine.export.readme import Facts, licence_note, readme

FACTS = {"licence": "Apache-2.0", "dataset": "Tickets", "metrics": {"accuracy": 0.91234},
         "parameters": {"trained": 1000, "total": 100_000}, "method": "lora"}


@pytest.fixture(scope="module")
def runs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of finished runs, by kind."""
    root = tmp_path_factory.mktemp("runs")
    bert, stories = shared / "models" / "bert-tiny", shared / "models" / "stories260k"
    made.make(root / "classify" / "adapter", bert, made.CLASSIFY, ["no", "yes", "per\"haps"],
              columns={"text": "a", "text_pair": "b", "label": "c"}, base_path_in_config=str(bert))
    made.make(root / "chat" / "adapter", stories, made.CHAT, columns={"messages": "m"},
              template="{% for m in messages %}{{ m['content'] }}{% endfor %}", base_path_in_config=str(stories))
    made.make(root / "text" / "adapter", stories, made.CHAT, columns={"text": "m"})
    for name in ("classify", "chat", "text"):
        spec = {"task": "x", "model": {"id": str(bert)}, "data": {"train": f"{root}/secret/train.tsv"}}
        (root / name / "spec.json").write_text(json.dumps(spec))
        (root / name / "environment.json").write_text(json.dumps({"python": "3.11", "path": f"{root}/venv/bin/python"}))
    return {path.name: path for path in root.iterdir()}


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        return {name: file.read(name) for name in file.namelist()}


def code(text: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.S))


def test_the_readme_s_own_lines_load_and_ask_every_kind_in_a_fresh_process(shared: Path, runs: dict[str, Path],
                                                                            tmp_path: Path) -> None:
    script = ["import sys"]
    for name, run in runs.items():
        out = zip_adapter(run, tmp_path / f"{name}.zip", facts=FACTS)
        with zipfile.ZipFile(out) as file:
            file.extractall(tmp_path)
        text = (tmp_path / name / "README.md").read_text(encoding="utf-8")
        base = "bert-tiny" if name == "classify" else "stories260k"
        first = re.findall(r"```python\n(.*?)```", text, flags=re.S)[0].strip().splitlines()
        assert len(first) == 5
        assert "in the line that loads `base`" in text and f'"{base}"' in first[3]
        script += [code(text).replace(f'"{base}"', repr(str(shared / "models" / base))), f"print('done {name}')"]
        if name == "classify":
            script.append("print('LOGITS', logits.tolist())")
    script.append("assert 'engine' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", "\n".join(script)], capture_output=True, text=True, check=False,
                          cwd=tmp_path, env={**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert [f"done {name}" in done.stdout for name in runs] == [True] * 3
    assert "per\"haps" in done.stdout
    found = json.loads(re.findall(r"LOGITS (.*)", done.stdout)[0])
    bert = shared / "models" / "bert-tiny"
    model, tokenizer = made.plain(runs["classify"] / "adapter", bert, made.CLASSIFY, ["x"] * 3)
    expected = model(**tokenizer("Write your text here.", "And the second one here.", return_tensors="pt")).logits[0]
    assert found == pytest.approx(expected.tolist(), abs=1e-6)


def test_the_zip_is_one_peft_folder_with_sums_that_match(runs: dict[str, Path], tmp_path: Path) -> None:
    found = members(zip_adapter(runs["chat"], tmp_path / "x.zip", facts={**FACTS, "name": "My chat: v2/β"}))
    root = "My-chat-v2-β/"
    assert all(name.startswith(root) for name in found)
    names = {name.removeprefix(root) for name in found}
    assert names >= {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "chat_template.jinja",
                     "studio.json", "README.md", "spec.json", "environment.json", "LICENCE-NOTE.txt", "SHA256SUMS"}
    sums = dict(line.split("  ")[::-1] for line in found[root + "SHA256SUMS"].decode().splitlines())
    assert sums == {name: hashlib.sha256(found[root + name]).hexdigest() for name in names - {"SHA256SUMS"}}
    original = (runs["chat"] / "adapter" / "adapter_model.safetensors").read_bytes()
    assert found[root + "adapter_model.safetensors"] == original
    assert "Apache-2.0" in found[root + "LICENCE-NOTE.txt"].decode()
    assert "Tickets" in found[root + "LICENCE-NOTE.txt"].decode()


def test_no_path_of_this_machine_leaves_it(runs: dict[str, Path], tmp_path: Path, shared: Path) -> None:
    for name, run in runs.items():
        found = members(zip_adapter(run, tmp_path / f"{name}.zip"))
        for place, content in found.items():
            assert str(run.parent).encode() not in content, place
            assert str(shared).encode() not in content, place
        config = json.loads(found[f"{name}/adapter_config.json"])
        assert config["base_model_name_or_path"] == ("bert-tiny" if name == "classify" else "stories260k")
        assert json.loads(found[f"{name}/spec.json"])["data"]["train"] == "train.tsv"


def test_the_same_adapter_gives_the_same_bytes_wherever_it_lies(runs: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    first = zip_adapter(runs["classify"], tmp_path / "1.zip", facts=FACTS)
    shutil.copytree(runs["classify"], tmp_path / "moved" / "classify")
    os.utime(tmp_path / "moved" / "classify" / "adapter" / "tokenizer.json", (10**9, 10**9))
    second = zip_adapter(tmp_path / "moved" / "classify", tmp_path / "2.zip", facts=FACTS)
    assert first.read_bytes() == second.read_bytes()
    direct = zip_adapter(runs["classify"] / "adapter", tmp_path / "3.zip", facts={**FACTS, "name": "classify"})
    assert direct.read_bytes() == first.read_bytes()


def test_progress_rises_to_one_and_stopping_leaves_no_file(runs: dict[str, Path], tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    seen: list[float] = []
    zip_adapter(runs["classify"], tmp_path / "x.zip", progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == 1 and len(seen) > 5
    with pytest.raises(Cancelled):
        zip_adapter(runs["classify"], tmp_path / "y.zip", cancelled=lambda: True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    with pytest.raises(NotEnough):
        zip_adapter(runs["classify"], tmp_path / "z.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.zip"]


def test_secrets_pickles_and_links_beside_the_adapter_stay_home(runs: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(runs["classify"], folder)
    for name in (".env", "optimizer.pt", "adapter_model.bin", "notes.py"):
        (folder / "adapter" / name).write_text("x")
    (folder / "adapter" / "link.json").symlink_to("/etc/hostname")
    names = {name.removeprefix("run/") for name in members(zip_adapter(folder, tmp_path / "x.zip"))}
    assert not names & {".env", "optimizer.pt", "adapter_model.bin", "notes.py", "link.json"}
    with pytest.raises(AdapterMissing):
        zip_adapter(tmp_path, tmp_path / "y.zip")


@pytest.mark.parametrize(("model_id", "expected", "local"), [
    ("starter/minilm-l6", "sentence-transformers/all-MiniLM-L6-v2", False),
    ("starter/smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct", False),
    ("hub:org/name", "org/name", False), ("org/name-1.5B", "org/name-1.5B", False),
    ("local/my-model", "my-model", True), ("/home/me/models/bert", "bert", True), ("C:\\models\\bert", "bert", True)])
def test_a_base_is_named_as_others_know_it(model_id: str, expected: str, local: bool) -> None:
    name, is_local, note = package.public_id(model_id)
    assert (name, is_local) == (expected, local)
    assert ("Q4_1" in note) == (model_id == "starter/smollm2-135m")


def test_readme_and_licence_note_say_what_is_known_and_what_is_not() -> None:
    whole = Facts(name="m", kind="model", task="text_classification", base="org/b", local=False, labels=("a", "b"))
    assert "peft" not in code(readme(whole))
    assert 'AutoModelForSequenceClassification.from_pretrained("m")' in readme(whole)
    assert "was not recorded" in licence_note(whole)
    score: Any = Facts(name="s", kind="adapter", task="text_classification", base="org/b", local=False, revision="abc",
                       labels=("score",), problem="regression", quantization="nf4", metrics={"pearson": 0.51239})
    text = readme(score)
    assert "print(float(logits))" in text and 'revision="abc"' in text and "nf4" in text and "pearson 0.5124" in text
    assert "Hugging Face Hub" in text
    named = Facts(name="p", kind="adapter", task="text_classification", base="org/b", local=False,
                  method="prompt_tuning")
    assert "trained with Prompt tuning." in readme(named)
    for facts in (whole, score):
        compile(code(readme(facts)), "readme", "exec")
