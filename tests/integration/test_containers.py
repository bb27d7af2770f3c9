"""The compose file: what it says, and its services run by hand, each with exactly its command and environment."""

from __future__ import annotations

import fnmatch
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from compose_stack import ROOT, SECRETS, Stack, Unset, docker_file, environment, read, substituted, variables
from rig import until
from starlette.requests import Request

from db.users import User
from engine.errors import StudioError
from studio import session
from studio.pages import models as models_page

BOTH = ("docker-compose.yml", "docker-compose.gpu.yml")
TOP = {"name", "services", "volumes", "networks", "configs", "secrets", "include"}
#: The keys of the Compose Specification that a service of ours may have.
SERVICE = {"build", "image", "init", "restart", "cap_drop", "security_opt", "environment", "volumes", "command",
           "ports", "depends_on", "healthcheck", "stop_grace_period", "deploy", "shm_size", "user", "networks"}
HEALTH = {"test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"}
#: A service that is started, does its work and ends.
ONE_SHOT = "migrate"
CSV = "text,label\n" + "".join(f"What is number {i}?,question\nThis is number {i}.,statement\n" for i in range(20))


# -- what the files say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [BOTH[:1], BOTH[1:], BOTH])
def test_every_key_is_one_of_the_compose_specification(names: tuple[str, ...]) -> None:
    file = read(*names)
    assert {key for key in file if not key.startswith("x-")} <= TOP
    for name, service in file["services"].items():
        assert set(service) <= SERVICE, name
        assert set(service.get("healthcheck", {})) <= HEALTH, name
        assert isinstance(service.get("command", []), list), name


def test_every_dependency_can_be_waited_for() -> None:
    services = read(BOTH[0])["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_completed_successfully":
                assert services[other]["restart"] == "no", f"{name} waits for the end of {other}, which starts again"
            else:
                assert how["condition"] == "service_healthy" and _has_health_check(services[other]), (name, other)
    assert services["web"]["depends_on"].keys() == services["worker"]["depends_on"].keys() == {"migrate", "valkey"}


def test_every_service_that_stays_has_a_health_check_and_comes_back() -> None:
    for name, service in read(BOTH[0])["services"].items():
        assert name == ONE_SHOT or (_has_health_check(service) and service["restart"] == "unless-stopped"), name


def _has_health_check(service: dict[str, Any]) -> bool:
    own = service.get("healthcheck", {})
    return not own.get("disable") and ("test" in own or ("build" in service and "HEALTHCHECK" in dict(docker_file())))


@pytest.mark.parametrize("secret", SECRETS)
def test_nothing_starts_without_a_secret_of_ones_own(secret: str) -> None:
    example = variables(ROOT / ".env.example")
    assert example[secret] == ""
    with pytest.raises(Unset, match=secret):
        substituted(read(BOTH[0]), example | {name: "given" for name in SECRETS if name != secret})


def test_no_password_is_written_down_and_no_store_is_reachable_from_outside() -> None:
    services = substituted(read(BOTH[0]), dict.fromkeys(SECRETS, "GIVEN"))["services"]
    for name, service in services.items():
        for key, value in environment(service, {}).items():
            secret = any(word in key for word in ("PASSWORD", "SECRET", "TOKEN", "AUTH")) and key != "STUDIO_AUTH"
            assert not secret or value in ("", "GIVEN"), (name, key)
        assert name == "web" or "ports" not in service
    assert services["web"]["ports"] == ["127.0.0.1:7860:7860"]
    assert {services[name]["environment"]["STUDIO_AUTH"] for name in ("web", "worker", "migrate")} == {"on"}
    assert "GIVEN" in services["valkey"]["command"]


def test_every_variable_that_may_be_set_is_in_the_example_file() -> None:
    text, example = (ROOT / BOTH[0]).read_text(), (ROOT / ".env.example").read_text()
    asked = {line.partition("${")[2].partition(":")[0] for line in text.splitlines() if "${" in line}
    plain = {key for service in read(BOTH[0])["services"].values()
             for key, value in service.get("environment", {}).items() if value is None}
    for name in asked | plain:
        assert f"\n{name}=" in example or f"\n#{name}=" in example, name
    # Empty is not the same as not there: huggingface_hub would ask an address without a host.
    assert not plain & variables(ROOT / ".env.example").keys()


def test_every_volume_is_declared_and_keeps_what_it_should() -> None:
    file = read(BOTH[0])
    mounts = [mount for service in file["services"].values() for mount in service.get("volumes", [])]
    assert {mount.partition(":")[0] for mount in mounts} == set(file["volumes"])
    for name in ("web", "worker"):
        service = file["services"][name]
        assert f"studio-data:{service['environment']['STUDIO_DATA_DIR']}" in service["volumes"]


def test_the_gpu_file_gives_the_worker_the_cards_and_changes_nothing_else() -> None:
    plain, merged = read(BOTH[0]), read(*BOTH)
    (device,) = merged["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert "utility" in merged["services"]["worker"]["environment"]["NVIDIA_DRIVER_CAPABILITIES"]
    for name, service in plain["services"].items():
        kept = {key: merged["services"][name][key] for key in service if key != "environment"}
        assert kept == {key: value for key, value in service.items() if key != "environment"}
        assert service["environment"].items() <= merged["services"][name]["environment"].items()


def test_the_image_copies_what_is_there_and_asks_for_what_the_project_needs(tmp_path: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for source in (part for word, rest in docker_file() if word == "COPY" for part in rest.split()[:-1]):
        assert (ROOT / source).exists() and not any(fnmatch.fnmatch(source, pattern) for pattern in ignored), source
    assert ".env" in ignored and ".git" in ignored
    line = next(rest for word, rest in docker_file() if word == "RUN").partition("&&")[0]
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    subprocess.run(["sh", "-c", line.replace("python", sys.executable, 1)], cwd=tmp_path, check=True)
    wanted = (tmp_path / "requirements.txt").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert wanted == [*project["dependencies"], *extras["quant"], *extras["s3"]]


@pytest.mark.parametrize("names", [BOTH[:1], BOTH])
def test_compose_itself_takes_the_files(names: tuple[str, ...], tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    (tmp_path / ".env").write_text("".join(f"{name}=given\n" for name in SECRETS))
    files = [part for name in names for part in ("-f", str(ROOT / name))]
    subprocess.run([docker, "compose", "--env-file", str(tmp_path / ".env"), *files, "config", "--quiet"], check=True)


# -- the services, by hand ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Stack]:
    """PostgreSQL, Valkey, migrations, web and worker, started in the order the file asks for."""
    made = Stack(tmp_path_factory.mktemp("compose"))
    try:
        made.start("valkey")
        made.start_postgres()
        until(lambda: made.healthy("valkey"), 30, made.logs)
        migrated = made.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        assert "empty -> " in migrated.stdout and made.given["POSTGRES_PASSWORD"] not in migrated.stdout
        made.start("web")
        made.start("worker")
        for name in ("ada", "bob"):
            command = ["peft-studio", "users", "add", name, "--password"]
            added = made.run("web", command, text=f"{name}'s own password\n")
            assert added.returncode == 0 and name in added.stdout, added.stderr
        until(lambda: _ready(made), 90, made.logs)
        yield made
    finally:
        made.close()


def _ready(stack: Stack) -> bool:
    try:
        return httpx.get(f"{stack.url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def signed_in(stack: Stack, name: str) -> Iterator[httpx.Client]:
    """Open a client that signed in as a browser does."""
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        answer = client.post("/login", data={"name": name, "password": f"{name}'s own password", "next": "/runs"},
                             headers={"Origin": stack.url})
        assert answer.status_code == 303 and answer.headers["location"] == "/runs", answer.text
        yield client


def with_token(stack: Stack, name: str) -> httpx.Client:
    """Return a client that shows a token of its own, made on the way."""
    with signed_in(stack, name) as browser:
        token = browser.post("/api/v1/users/me/tokens", json={"label": "test"}).json()["token"]
    return httpx.Client(base_url=stack.url, timeout=60, headers={"Authorization": f"Bearer {token}"})


def test_nobody_gets_in_without_an_account(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url, timeout=60) as nobody:
        for path in ("/", "/runs", "/models?model=md_x"):
            page = nobody.get(path, headers={"Accept": "text/html"})
            assert page.status_code == 303 and page.headers["location"].startswith("/login?next="), path
        assert "Sign in" in nobody.get("/login").text
        for path in ("/api/v1/runs", "/api/v1/models", "/download/adapters/ad_x", "/metrics", "/config",
                     "/gradio_api/info", "/api/v1/openapi.json"):
            answer = nobody.get(path)
            assert answer.status_code == 401, (path, answer.status_code)
        assert nobody.get("/api/v1/runs").json()["kind"] == "not_signed_in"
        for headers in ({"Authorization": "Bearer pst_made-up"}, {"Cookie": "studio_session=x~us_local~y.z"}):
            assert nobody.get("/api/v1/users/me", headers=headers).status_code == 401
        assert nobody.post("/gradio_api/queue/join", json={"fn_index": 0, "session_hash": "a"}).status_code == 401
        assert nobody.post("/login", data={"name": "ada", "password": "wrong"}).status_code == 401
        assert nobody.get("/readyz").json() == {"ready": True, "problems": []}


def test_a_person_who_signed_in_sees_the_pages(stack: Stack) -> None:
    with signed_in(stack, "ada") as ada:
        for path in ("/", "/runs", "/models"):
            page = ada.get(path, headers={"Accept": "text/html"})
            assert page.status_code == 200 and "PEFT Studio" in page.text, path
        assert ada.get("/api/v1/users/me").json()["name"] == "ada"
        assert ada.post("/logout", headers={"Origin": stack.url}).headers["location"] == "/login"
        assert ada.get("/api/v1/users/me").status_code == 401


@pytest.mark.slow
def test_a_run_goes_through_and_is_nobody_elses(stack: Stack, shared: Path) -> None:
    with with_token(stack, "ada") as ada, with_token(stack, "bob") as bob:
        dataset = _settled(stack, ada, "datasets", ada.post("/api/v1/datasets", files={"file": ("kinds.csv", CSV)}))
        files = [("file", (path.name, path.read_bytes())) for path in (shared / "models" / "bert-tiny").iterdir()]
        model = _settled(stack, ada, "models", ada.post("/api/v1/models", data={"name": "bert-tiny"}, files=files))
        spec = {"task": "text_classification", "model": {"id": model["ref"]}, "data": {"train": dataset["id"]},
                "method": {"name": "lora", "r": 4}, "training": {"epochs": 1, "batch_size": 8, "max_length": 32}}
        run = _settled(stack, ada, "runs", ada.post("/api/v1/runs", json=spec))
        assert run["result"]["parameters"]["trained"] > 0
        (adapter,) = ada.get(f"/api/v1/adapters?run={run['id']}").json()["items"]
        assert ada.get(f"/download/adapters/{adapter['id']}").content.startswith(b"PK")
        for path in (f"/api/v1/runs/{run['id']}", f"/api/v1/runs/{run['id']}/log", f"/api/v1/datasets/{dataset['id']}",
                     f"/api/v1/models/{model['id']}", f"/api/v1/adapters/{adapter['id']}",
                     f"/download/adapters/{adapter['id']}", f"/download/runs/{run['id']}/result.json"):
            answer = bob.get(path)
            assert answer.status_code == 404, (path, answer.text)
        assert bob.post(f"/api/v1/runs/{run['id']}/stop", json={"mode": "discard"}).status_code == 404
        assert bob.delete(f"/api/v1/adapters/{adapter['id']}").status_code == 404
        assert bob.post("/api/v1/runs", json=spec).status_code in (404, 422)
        assert bob.get("/api/v1/runs").json()["items"] == []
        assert 'studio_runs{state="succeeded"} 1' in bob.get("/metrics").text


def _settled(stack: Stack, client: httpx.Client, nouns: str, made: httpx.Response) -> dict[str, Any]:
    assert made.status_code == 201, made.text
    path = f"/api/v1/{nouns}/{made.json()['id']}"
    row: dict[str, Any] = {}

    def over() -> bool:
        row.update(client.get(path).json())
        return row["state"] in ("ready", "succeeded", "failed")

    until(over, 120, lambda: f"{row}\n{stack.logs()}")
    assert row["state"] != "failed", f"{row['error']}\n{stack.logs()}"
    return row


@pytest.mark.parametrize("name", ["web", "worker", "valkey", "postgres"])
def test_the_health_check_passes_while_the_service_is_up(stack: Stack, name: str) -> None:
    until(lambda: stack.healthy(name), 60, stack.logs)


def test_stores_refuse_whoever_has_no_password(stack: Stack) -> None:
    import psycopg
    import redis

    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=stack.ports["valkey:6379"]).ping()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host="127.0.0.1", port=stack.ports["postgres:5432"], user="studio", password="wrong",
                        dbname="studio")


@pytest.mark.parametrize("command", [["web"], ["up"]])
def test_an_address_for_others_is_refused_while_nobody_has_to_sign_in(stack: Stack, command: list[str]) -> None:
    refused = stack.run("web", ["peft-studio", *command, "--host", "0.0.0.0", "--port", "0"], without=("STUDIO_AUTH",))
    assert refused.returncode == 2 and "0.0.0.0" in refused.stderr and "STUDIO_AUTH=on" in refused.stderr


def test_the_log_of_no_service_holds_a_secret(stack: Stack) -> None:
    for name in SECRETS:
        assert stack.given[name] not in "".join(path.read_text() for path in stack.folder.glob("*.log")), name


def test_every_service_ends_when_it_is_told_to(stack: Stack) -> None:
    everything = [child for one in stack.processes.values()
                  for child in psutil.Process(one.pid).children(recursive=True)]
    for together in (("web", "worker"), ("valkey", "postgres")):
        for name in together:
            stack.stop(name)
        for name in together:
            # uvicorn ends in order, then by the signal that asked for it.
            assert stack.processes[name].wait(60) in ((0, -signal.SIGTERM) if name == "web" else (0,)), stack.logs()
    until(lambda: not [one for one in everything if one.is_running() and one.status() != psutil.STATUS_ZOMBIE], 10)


# -- folders of the machine --------------------------------------------------------------------------------------------


def _asking(role: str) -> Request:
    user = User("us_somebody", "somebody", role)
    return Request({"type": "http", "headers": [], session.USER_KEY: user, session.SCOPE_KEY: "x"})


def test_only_administrators_may_add_a_folder_of_the_machine(data_dir: Path) -> None:
    with pytest.raises(StudioError) as refused:
        models_page._add_folder(str(data_dir), _asking("member"))  # type: ignore[arg-type]
    assert refused.value.kind == "folder_refused" and refused.value.status == 403
    with pytest.raises(StudioError) as looked_at:
        models_page._add_folder(str(data_dir), _asking("admin"))  # type: ignore[arg-type]
    assert looked_at.value.kind == "weights_missing"


@pytest.mark.parametrize(("role", "offered"), [("member", False), ("admin", True)])
def test_the_page_offers_folders_to_administrators_only(role: str, offered: bool) -> None:
    column, told = models_page._folders(_asking(role))  # type: ignore[arg-type]
    assert column.visible is offered and ("Only administrators" in told) is not offered
