"""The command line: flags made from the specs, errors a person can act on, and the whole path on a real worker."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, studio, until

from db import accounts, datasets, migrate, models, users
from db.session import database
from db.settings import settings
from engine import methods, tasks
from engine import models as bases
from engine import spec as specs
from engine.findings import Finding, Level
from engine.shape import HeadModule, ModelShape, Module
from engine.spec import Training
from studio import cli, cli_flags, cli_session, cli_stack, cli_train

CAUSAL = {"task": "causal_lm", "model": {"id": "starter/smollm2-135m", "quantization": "nf4"},
          "data": {"train": "ds_b", "eval": "ds_c", "columns": {"messages": "the chat"}},
          "method": {"name": "lora", "r": 64, "targets": ["q", "v"], "use_dora": True, "layers": 4, "dropout": 0.05,
                     "rank_pattern": {"q": 4}},
          "training": {"epochs": 0.5, "learning_rate": 3e-4, "eval_every": 50, "max_steps": 7,
                       "gradient_checkpointing": True, "early_stopping": {"patience": 2}}}
SIMPLE = {"task": "text_classification", "model": {"id": "starter/minilm-l6"}, "data": {"train": "it's data.csv"},
          "method": {"name": "head"}}
OPTIONS = {"task": "text_classification", "model": {"id": "a/b", "revision": "v1"},
           "data": {"train": "ds_a", "columns": {"text": "t", "label": "l"},
                    "options": {"problem": "multi_label", "separator": ",", "eval_fraction": 0.2}},
           "method": {"name": "full"}}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fresh(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty data folder."""
    for name in ("STUDIO_BROKER_URL", "STUDIO_DATABASE_URL", "STUDIO_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    settings.cache_clear()
    yield data_dir
    settings.cache_clear()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; returns exit code, stdout and stderr."""
    def call(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main([str(one) for one in arguments])
        seen = capsys.readouterr()
        assert "Traceback" not in seen.out + seen.err
        return code, seen.out, seen.err

    return call


def given_by(line: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what `train` is given by a shell command."""
    caught: list[dict[str, Any]] = []
    monkeypatch.setattr(cli_train, "_train", caught.append)
    words = shlex.split(line)
    assert words[0] == "peft-studio" and cli.main(words[1:]) == 0
    return caught[0]


# -- flags -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [CAUSAL, SIMPLE, OPTIONS])
def test_the_command_line_of_a_spec_gives_that_spec_again(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    spec = specs.parse(document)
    line = cli_flags.line(spec)
    assert specs.parse(cli_train._document(given_by(line, monkeypatch))) == spec, line


def test_every_field_of_every_method_task_and_the_training_is_a_flag(run: Run):
    code, text, _ = run("train", "--help")
    kinds = [Training, *methods.every().values(), *tasks.every().values()]
    names = {name for kind in kinds for name in kind.model_fields if name != "name"}
    assert code == 0 and len(names) > 20
    assert [name for name in names if f"--{name.replace('_', '-')} " not in text.replace("\n", " ") + " "] == []


def test_flags_change_a_spec_that_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(CAUSAL))
    line = (f"peft-studio train {file} --r 8 --no-use-dora --set training.early_stopping.patience=5 "
            "--set method.targets=mlp")
    made = specs.parse(cli_train._document(given_by(line, monkeypatch)))
    assert made.method.model_dump()["r"] == 8 and made.method.model_dump()["use_dora"] is False
    assert made.training.early_stopping is not None and made.training.early_stopping.patience == 5
    assert made.method.model_dump()["targets"] == "mlp" and made.training.max_steps == 7


def test_another_method_leaves_the_settings_of_the_first_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(CAUSAL))
    made = cli_train._document(given_by(f"peft-studio train {file} --method full", monkeypatch))
    assert made["method"] == {"name": "full"}


@pytest.mark.parametrize(("text", "value"), [
    ("8", 8), ("8.5", 8.5), ("auto", "auto"), ("none", None), ("a,b", ["a", "b"]), ('["a"]', ["a"]),
    ('{"q": 4}', {"q": 4})])
def test_a_value_is_read_as_what_it_looks_like(text: str, value: Any):
    class Kind(specs.Part):
        any: int | float | str | list[str] | dict[str, int] | None = None

    assert cli_flags.parse(text, Kind.model_fields["any"]) == value


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "code", "kind"), [
    (["runs", "show", "run_none"], 2, "not_found"),
    (["runs", "stop", "run_none"], 2, "not_found"),
    (["adapters", "download", "ad_none"], 2, "not_found"),
    (["datasets", "add", "nothing.csv"], 2, "file_missing"),
    (["models", "add", "starter/none"], 2, "unknown_starter"),
    (["models", "add", "../elsewhere"], 2, "model_not_found"),
    (["train"], 2, "spec_invalid"),
    (["train", "nothing.json"], 2, "spec_invalid"),
    (["train", "--data", "x.csv", "--model", "a/b", "--set", "method.alpha"], 2, "spec_invalid"),
    (["train", "--data", "x.csv", "--model", "a/b"], 2, "no_worker"),
    (["train", "--no-such-flag"], 2, "usage"),
    (["predict", "hello"], 2, "nobody_asked"),
    (["users", "token", "nobody"], 2, "account_missing"),
    (["nonsense"], 2, "usage"),
])
def test_an_error_is_one_block_that_says_what_to_do(fresh: Path, run: Run, arguments: list[str], code: int, kind: str):
    found, text, error = run(*arguments)
    lines = error.strip().splitlines()
    assert (found, text) == (code, "") and lines[0].startswith("Error: ") and lines[-1].startswith("  Try this: ")
    assert len([line for line in lines if line.startswith("Error: ")]) == 1
    if kind != "usage":
        assert json.loads(run(*arguments, "--json")[2].strip().splitlines()[-1])["kind"] == kind


@pytest.mark.parametrize("words", ["runs list", "up", "web", "worker", "migrate", "doctor --worker"])
def test_a_wrong_setting_is_named(fresh: Path, run: Run, monkeypatch: pytest.MonkeyPatch, words: str):
    monkeypatch.setenv("STUDIO_PORT", "many")
    code, _, error = run(*words.split())
    assert code == 2 and "STUDIO_PORT is 'many', but it must be a whole number from 0 to 65535" in error
    monkeypatch.delenv("STUDIO_PORT")
    monkeypatch.setenv("STUDIO_DATA_DIR", "/dev/null/data")
    code, _, error = run(*words.split())
    assert code == 2 and "STUDIO_DATA_DIR is '/dev/null/data'" in error


@pytest.mark.parametrize("as_json", [True, False])
def test_the_doctor_says_once_what_is_wrong_with_a_setting(
        fresh: Path, run: Run, monkeypatch: pytest.MonkeyPatch, as_json: bool):
    monkeypatch.setenv("STUDIO_SLOTS", "0")
    code, text, error = run("doctor", *(["--json"] if as_json else []))
    assert code == 1 and error == "" and text.count("STUDIO_SLOTS is '0'") == 1
    assert "a whole number from 1 to 64" in text and "Set STUDIO_SLOTS to something else" in text
    assert "ValidationError" not in text


def test_a_database_that_does_not_answer_is_named(fresh: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:9/none")
    code, _, error = run("runs", "list")
    assert code == 1 and "database does not answer" in error and "secret" not in error


def test_an_address_others_can_reach_needs_accounts(fresh: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_AUTH", "off")
    code, _, error = run("up", "--host", "0.0.0.0")
    assert code == 2 and "STUDIO_AUTH=on" in error
    assert "STUDIO_HOST" not in os.environ and settings().host == "127.0.0.1"


def test_the_command_line_starts_without_the_heavy_libraries():
    heavy = ("torch", "transformers", "gradio", "sqlalchemy", "celery", "fastapi", "peft")
    code = f"import sys, studio.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", ["", "runs", "runs stop", "datasets add", "models add", "adapters merge",
                                   "users token", "train", "predict", "up", "worker", "migrate", "doctor", "demo"])
def test_every_command_has_help(run: Run, words: str):
    code, text, _ = run(*words.split(), "--help")
    assert code == 0 and text.startswith("Usage: peft-studio")


@pytest.mark.parametrize(("words", "shown"), [
    ("predict", ["--temperature NUMBER", "from 0 to 5", "from 0 to 1", "--adapter TEXT"]),
    ("up", ["--port NUMBER", "from 0 to 65535", "at least 1", "--host TEXT"]), ("runs list", ["--limit NUMBER"])])
def test_help_names_types_and_bounds_in_words(run: Run, words: str, shown: list[str]):
    text = " ".join(run(*words.split(), "--help")[1].split())
    assert all(part in text for part in shown), text
    assert not re.search(r"<(str|int|float|list|path)\b|<=|>=", text)


@pytest.mark.parametrize(("words", "told"), [
    ("predict x --top-p 2", "It is 2, but it must be from 0 to 1."),
    ("predict x --temperature=-1", "It is -1, but it must be from 0 to 5."),
    ("up --port 70000", "It is 70000, but it must be from 0 to 65535."),
    ("up --slots 0", "It is 0, but it must be at least 1.")])
def test_a_number_outside_its_bounds_is_refused(run: Run, words: str, told: str):
    code, _, error = run(*words.split())
    assert code == 2 and told in error and words.split("--")[1].split("=")[0].split()[0] in error


# -- small commands ----------------------------------------------------------------------------------------------------


def test_accounts_are_added_with_a_password_shown_once(fresh: Path, run: Run):
    code, text, _ = run("users", "add", "ada", "--json")
    made = json.loads(text)
    assert code == 0 and accounts.check_password("ada", made["password"]).id == made["id"]
    assert made["password"] not in (fresh / "studio.db").read_bytes().decode("latin-1")
    assert run("users", "add", "ada")[0] == 2
    code, token, _ = run("users", "token", "ada")
    found = accounts.of_token(token.strip())
    assert code == 0 and found is not None and found.name == "ada"
    assert token.strip() not in (fresh / "studio.db").read_bytes().decode("latin-1")
    assert [row["name"] for row in json.loads(run("users", "list", "--json")[1])] == ["ada"]


def test_the_command_line_works_for_the_account_it_is_told(fresh: Path, run: Run, monkeypatch: pytest.MonkeyPatch,
                                                           tmp_path: Path):
    run("users", "add", "ada")
    file = tmp_path / "rows.csv"
    file.write_text("text,label\na,b\n")
    monkeypatch.setenv("STUDIO_USER", "ada")
    assert run("datasets", "add", file)[0] == 0
    assert [row.name for row in datasets.find(accounts.by_name("ada"))] == ["rows"]
    monkeypatch.delenv("STUDIO_USER")
    assert json.loads(run("datasets", "list", "--json")[1]) == []


def test_tables_are_brought_up_to_date_and_doctor_sees_it(fresh: Path, run: Run):
    code, text, _ = run("migrate")
    assert code == 0 and text.strip().endswith(f"{migrate.head()}.")
    code, text, _ = run("doctor", "--json")
    report = json.loads(text)
    assert code == 0 and report["healthy"] is True
    assert {f["name"]: f["level"] for f in report["findings"]}["database"] == "good"
    assert run("doctor", "--worker")[0] == 1


def test_without_a_worker_a_dataset_is_stored_and_waits(fresh: Path, run: Run, tmp_path: Path):
    file = tmp_path / "rows.csv"
    file.write_text("text,label\na,b\n")
    code, text, note = run("datasets", "add", file, "--column", "text=text", "--column", "label=label",
                           "--task", "text_classification", "--json")
    row = datasets.get(users.local(), json.loads(text)["id"])
    assert code == 0 and row.state == "uploaded" and row.confirmed and "No worker is running" in note
    assert (fresh / str(row.original_key)).read_text() == file.read_text()
    assert [item["id"] for item in json.loads(run("datasets", "list", "--json")[1])] == [row.id]
    database().dispose()


def test_a_run_in_bits_that_nobody_can_load_is_refused(fresh: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    migrate.upgrade()
    shape = ModelShape(architecture="BertModel", model_type="bert", family="encoder", total=4160, layers=1, depth=1,
                       hidden=64, heads=2, intermediate=256, vocab=100, max_length=512,
                       modules=[Module(name="layer.0.query", kind="linear", role="query", layer=0, d_in=64, d_out=64,
                                       bias=True, parameters=4160)],
                       task_heads={"text_classification": [HeadModule(name="classifier", per_label=65)]})
    row = models.create(users.local(), ref="local/small", source="local", state="ready")
    models.update(users.local(), row.id, shape=shape.model_dump(mode="json"))
    data = datasets.create(users.local(), name="rows", state="ready", task="text_classification", rows=9,
                           columns={"text": "text", "label": "label"}, source={"columns": ["text", "label"]},
                           stats={"label_count": 2})
    monkeypatch.setattr(cli_stack, "worker_there", lambda: True)
    monkeypatch.setattr(bases, "quantizer_installed", lambda: False)
    what = ["train", "--data", data.id, "--model", "local/small"]
    code, text, error = run(*what, "--quantization", "nf4")
    assert (code, text) == (2, "") and "pip install bitsandbytes" in error
    assert run(*what)[0] == 0
    database().dispose()


@pytest.mark.parametrize(("level", "code"), [("error", 2), ("warning", 0)])
def test_a_dataset_that_cannot_be_trained_on_is_told_by_the_exit_code(
        fresh: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: Level, code: int):
    file = tmp_path / "rows.csv"
    file.write_text("text,label\na,b\n")

    def read(looked: Callable[[], Any], *_: Any, **__: Any) -> Any:
        """Do what a worker does when it has read the file."""
        (row,) = datasets.find(users.local())
        noticed = Finding(kind="one_label", level=level, what="All rows have the label b.")
        datasets.update(users.local(), row.id, state="ready", findings=[noticed.model_dump(mode="json")])
        return looked()

    monkeypatch.setattr(cli_stack, "worker_there", lambda: True)
    monkeypatch.setattr(cli_session, "wait", read)
    found, text, _ = run("datasets", "add", file)
    assert found == code and f"{level.capitalize()}: All rows have the label b." in text
    assert "exit code" in run("datasets", "add", "--help")[1]
    database().dispose()


# -- the whole path ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Rig]:
    """A studio with broker, database and a worker."""
    with studio(tmp_path_factory.mktemp("cli") / "data", shared) as made:
        made.work()
        until(cli_stack.worker_there, 60, "no worker")
        yield made


@pytest.mark.slow
def test_from_a_file_to_an_answer_on_the_command_line(rig: Rig, run: Run, tmp_path: Path):
    file = tmp_path / "kinds.csv"
    file.write_text("sentence,kind\n" + "".join(f"What is number {i}?,question\nThis is number {i}.,statement\n"
                                                for i in range(30)))
    assert run("models", "add", "local/bert-tiny")[0] == 0
    flags = ["--r", 4, "--epochs", 2, "--max-length", 32, "--learning-rate", "1e-3", "--precision", "fp32"]
    what = ["--data", file, "--model", "local/bert-tiny", "--name", "Kinds"]
    code, text, error = run("train", *what, *flags, "--follow", "--json")
    assert code == 0, error
    made = json.loads(text)
    assert made["state"] == "succeeded" and made["spec"]["method"]["r"] == 4
    assert made["result"]["metrics"]["accuracy"] > 0.4
    assert "update" in error or "running" in error
    code, text, _ = run("train", "--data", file, "--model", "local/bert-tiny", "--dry-run", "--json")
    check = json.loads(text)
    assert code == 0 and check["ready"] is True and check["spec"]["data"]["train"] == made["dataset_id"]
    _listed(run, made)
    _written(run, made, tmp_path)
    adapter = json.loads(run("adapters", "list", "--json")[1])[0]["id"]
    code, text, error = run("predict", "--adapter", adapter, "--adapter", "base", "What is it?", "--json")
    answers = json.loads(text)["result"]["answers"]
    assert code == 0 and answers[0][0]["label"] in ("question", "statement") and len(answers) == 2
    assert "Kinds" in run("predict", "--adapter", adapter, "What is it?")[1]


def _listed(run: Run, made: dict[str, Any]) -> None:
    """The run can be found, shown and taken as a spec."""
    assert made["id"] in run("runs", "list")[1] and made["id"] not in run("runs", "list", "--state", "failed")[1]
    assert "Trained parameters" in run("runs", "show", made["id"], "--log", 5)[1]
    assert specs.parse(json.loads(run("runs", "spec", made["id"])[1])) == specs.parse(made["spec"])
    assert run("runs", "stop", made["id"])[0] == 2 and run("runs", "resume", made["id"])[0] == 2


def _written(run: Run, made: dict[str, Any], folder: Path) -> None:
    """The adapter and the merged model are written where they are wanted, and nothing is overwritten."""
    code, text, error = run("runs", "export", made["id"], "--out", folder / "adapter.zip", "--json")
    assert code == 0, error
    names = zipfile.ZipFile(json.loads(text)["path"]).namelist()
    assert any(name.endswith("adapter_model.safetensors") for name in names)
    assert run("runs", "export", made["id"], "--out", folder / "adapter.zip")[0] == 2
    adapter = json.loads(run("adapters", "list", "--json")[1])[0]["id"]
    code, text, error = run("adapters", "merge", adapter, "--out", folder / "merged.zip", "--json")
    assert code == 0, error
    names = zipfile.ZipFile(json.loads(text)["path"]).namelist()
    assert any(name.endswith("/model.safetensors") for name in names)
