"""Every table. Summaries live on the run row, so that lists and pages never add up metrics."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Created, Id, JsonList, JsonObject, Owned
from db.tables_accounts import Password, Token, UserRow
from db.tables_made import Batch, Composition, Export, Prediction

__all__ = ["Adapter", "Base", "Batch", "Composition", "Dataset", "Export", "LogLine", "Metric", "Model", "Password",
           "Prediction", "Run", "Token", "UserRow", "Worker"]


class Dataset(Owned, Base):
    """An immutable version of somebody's rows.

    `state`: uploaded, ingesting, ready, failed. `original_key` and `parquet_key` are keys in the blob store;
    `source` is what sniffing found; `columns` maps roles to columns (guessed, then confirmed); `guess` holds the task
    guess with its reasons; `eval_of_id` is the dataset that this one evaluates. `version_of_id` is the first version
    of these rows, `version` the number of this one, `edits` what was changed to come here from the version before;
    `steps` are the steps of preparation that runs take with them; `origin` tells where rows that were fetched came
    from.
    """

    __tablename__ = "datasets"
    noun, prefix = "dataset", "ds"

    name: Mapped[str]
    state: Mapped[str] = mapped_column(default="uploaded")
    progress: Mapped[float] = mapped_column(default=0.0)
    filename: Mapped[str] = mapped_column(default="")
    bytes: Mapped[int] = mapped_column(default=0)
    sha256: Mapped[str | None]
    original_key: Mapped[str | None]
    parquet_key: Mapped[str | None]
    rows: Mapped[int | None]
    task: Mapped[str | None]
    confirmed: Mapped[bool] = mapped_column(default=False)
    cancel: Mapped[bool] = mapped_column(default=False)
    sample: Mapped[bool] = mapped_column(default=False)
    eval_of_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    version_of_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    created_at: Mapped[Created]
    updated_at: Mapped[Created]
    search: Mapped[str] = mapped_column(default="")
    edits: Mapped[JsonList] = mapped_column(default=list, server_default="[]")
    steps: Mapped[JsonList] = mapped_column(default=list, server_default="[]")
    origin: Mapped[JsonObject | None]
    options: Mapped[JsonObject] = mapped_column(default=dict)
    columns: Mapped[JsonObject] = mapped_column(default=dict)
    guess: Mapped[JsonObject | None]
    source: Mapped[JsonObject | None]
    error: Mapped[JsonObject | None]
    findings: Mapped[JsonList] = mapped_column(default=list)
    stats: Mapped[JsonObject | None]

    __table_args__ = (Index("ix_datasets_newest", "owner_id", "created_at"), Index("ix_datasets_working", "state"))


class Model(Owned, Base):
    """A base model that was added. `state`: queued, inspecting, ready, failed.

    `ref` is what RunSpec calls its id; `files` maps file names to sha256; `shape` is the ModelShape.
    """

    __tablename__ = "models"
    noun, prefix = "model", "md"

    ref: Mapped[str]
    revision: Mapped[str | None]
    title: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued")
    progress: Mapped[float] = mapped_column(default=0.0)
    path: Mapped[str | None]
    licence: Mapped[str] = mapped_column(default="")
    source: Mapped[str] = mapped_column(default="")
    bytes: Mapped[int] = mapped_column(default=0)
    cancel: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[Created]
    updated_at: Mapped[Created]
    search: Mapped[str] = mapped_column(default="")
    error: Mapped[JsonObject | None]
    files: Mapped[JsonObject] = mapped_column(default=dict)
    shape: Mapped[JsonObject | None]

    __table_args__ = (Index("ix_models_by_ref", "owner_id", "ref"), Index("ix_models_working", "state"))


class Run(Owned, Base):
    """One RunSpec and what became of it.

    `state`: queued, starting, running, stopping, interrupted, succeeded, failed, cancelled. `token` fences writers: it
    grows with every claim and every loss. `journal_seq` is the last event of this attempt that became rows. `loss` is
    the last training loss; `metric_value` the best value of the deciding metric; `latest` the last value of each
    metric by name; `eta` in seconds; `rung_at` is when a worker was last told about it. `data_names` is what the
    datasets were called when it began, {train, eval: {name, file}}: they may be deleted.
    """

    __tablename__ = "runs"
    noun, prefix = "run", "run"

    name: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued")
    task: Mapped[str]
    method: Mapped[str]
    model: Mapped[str]
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    eval_dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    device_class: Mapped[str | None]
    created_at: Mapped[Created]
    queued_at: Mapped[Created]
    rung_at: Mapped[Created]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]

    token: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    worker_id: Mapped[str | None]
    lease_until: Mapped[float | None]
    heartbeat_at: Mapped[float | None]
    stop_mode: Mapped[str | None]
    journal_seq: Mapped[int] = mapped_column(default=-1)
    log_lines: Mapped[int] = mapped_column(default=0)

    stage: Mapped[str] = mapped_column(default="")
    step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int | None]
    epoch: Mapped[float] = mapped_column(default=0.0)
    eta: Mapped[float | None]
    loss: Mapped[float | None]
    metric_name: Mapped[str] = mapped_column(default="loss")
    metric_greater: Mapped[bool] = mapped_column(default=False)
    metric_value: Mapped[float | None]
    metric_step: Mapped[int | None]
    trained_parameters: Mapped[int | None]
    total_parameters: Mapped[int | None]
    train_rows: Mapped[int | None]
    eval_rows: Mapped[int | None]
    truncated: Mapped[int | None]
    estimated_bytes: Mapped[int | None]
    examples: Mapped[int] = mapped_column(default=0)
    checkpoint_step: Mapped[int | None]

    search: Mapped[str] = mapped_column(default="")
    error: Mapped[JsonObject | None]
    latest: Mapped[JsonObject] = mapped_column(default=dict)
    parameters: Mapped[JsonObject | None]
    resolved: Mapped[JsonObject | None]
    spec: Mapped[JsonObject]
    data_names: Mapped[JsonObject] = mapped_column(default=dict, server_default="{}")
    result: Mapped[JsonObject | None]

    __table_args__ = (
        # Covers every filter and the search of the run list, so that only the rows of one page are read.
        Index("ix_runs_newest", "owner_id", "created_at", "id", "state", "method", "task", "model", "dataset_id",
              "search"),
        Index("ix_runs_by_state", "owner_id", "state", "created_at"),
        Index("ix_runs_by_method", "owner_id", "method", "created_at"),
        Index("ix_runs_by_model", "owner_id", "model", "created_at"),
        Index("ix_runs_to_claim", "state", "queued_at"),
    )


class Metric(Base):
    """One value of one metric of a run; `value` is null where it was not finite."""

    __tablename__ = "metrics"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[float | None]
    epoch: Mapped[float | None]
    at: Mapped[float]

    __table_args__ = {"sqlite_with_rowid": False}


class LogLine(Base):
    """One line of a run's log; `number` counts from 1 over all attempts. `level`: info, warning, error."""

    __tablename__ = "logs"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    level: Mapped[str]
    text: Mapped[str]

    __table_args__ = {"sqlite_with_rowid": False}


class Adapter(Owned, Base):
    """A published result. `artifact` is "adapter" (a peft directory) or "model"; `key` is its folder in the blob store.

    `state` is ready. A composed one has `parents`, {id, name, weight} of each adapter it was made of, as it was then,
    and `composed`: its recipe, comparison and notes.
    """

    __tablename__ = "adapters"
    noun, prefix = "adapter", "ad"

    name: Mapped[str]
    state: Mapped[str] = mapped_column(default="ready")
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"), index=True)
    model: Mapped[str]
    model_revision: Mapped[str | None]
    model_hash: Mapped[str | None]
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    dataset_sha256: Mapped[str | None]
    task: Mapped[str]
    method: Mapped[str]
    artifact: Mapped[str] = mapped_column(default="adapter")
    key: Mapped[str]
    bytes: Mapped[int] = mapped_column(default=0)
    sha256: Mapped[str | None]
    created_at: Mapped[Created]
    search: Mapped[str] = mapped_column(default="")
    labels: Mapped[JsonList] = mapped_column(default=list)
    metrics: Mapped[JsonObject] = mapped_column(default=dict)
    parameters: Mapped[JsonObject] = mapped_column(default=dict)
    parents: Mapped[JsonList] = mapped_column(default=list)
    composed: Mapped[JsonObject | None]

    __table_args__ = (Index("ix_adapters_newest", "owner_id", "created_at"),
                      Index("ix_adapters_by_model", "owner_id", "model", "created_at"))


class Worker(Base):
    """A worker process. `device` holds `class`, `name`, `memory_bytes`, `cores`; `busy` of its `slots` are taken."""

    __tablename__ = "workers"

    id: Mapped[Id]
    host: Mapped[str]
    pid: Mapped[int]
    slots: Mapped[int] = mapped_column(default=1)
    busy: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[Created]
    heartbeat_at: Mapped[Created]
    device: Mapped[JsonObject] = mapped_column(default=dict)
    versions: Mapped[JsonObject] = mapped_column(default=dict)
