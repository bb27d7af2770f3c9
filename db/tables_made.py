"""The tables of what adapters are turned into or used for: files, compositions, batches, single predictions."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Created, JsonList, JsonObject, Owned


class Export(Owned, Base):
    """A file made from an adapter. `kind`: merge, zip, insight. `state`: queued, running, ready, failed, cancelled."""

    __tablename__ = "exports"
    noun, prefix = "export", "ex"

    adapter_id: Mapped[str] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued")
    progress: Mapped[float] = mapped_column(default=0.0)
    path: Mapped[str | None]
    bytes: Mapped[int] = mapped_column(default=0)
    cancel: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[Created]
    updated_at: Mapped[Created]
    error: Mapped[JsonObject | None]

    __table_args__ = (Index("ix_exports_newest", "owner_id", "created_at"), Index("ix_exports_working", "state"))


class Composition(Owned, Base):
    """Adapters that become one. `state`: queued, running, ready, failed, cancelled.

    `parents` lists {id, name} of the adapters, `recipe` says how; `live` is what is being done and found meanwhile,
    `result` what came of it, `adapter_id` the adapter made. `dataset_id`: the rows it is measured on.
    """

    __tablename__ = "compositions"
    noun, prefix = "composition", "co"

    name: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued")
    progress: Mapped[float] = mapped_column(default=0.0)
    adapter_id: Mapped[str | None] = mapped_column(ForeignKey("adapters.id", ondelete="SET NULL"), index=True)
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    cancel: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[Created]
    updated_at: Mapped[Created]
    parents: Mapped[JsonList]
    recipe: Mapped[JsonObject]
    live: Mapped[JsonObject] = mapped_column(default=dict)
    result: Mapped[JsonObject | None]
    error: Mapped[JsonObject | None]

    __table_args__ = (Index("ix_compositions_newest", "owner_id", "created_at"),
                      Index("ix_compositions_working", "state"))


class Batch(Owned, Base):
    """Many rows asked at once. `kind`: predict, evaluate. `state`: queued, running, ready, failed, cancelled.

    A model without an adapter is asked where `adapter_name` is empty. The rows are those of a dataset, or of an
    uploaded file, `original_key`; `filename` is what they are called, `columns` maps roles to columns ({} leaves that
    to be found), `steps` are those of the adapter's preparation that its rows go through before they are asked, and
    `quantization` is how the base is held (None: in full precision). What comes of predicting is a file, `result_key`,
    in `format` csv or parquet; `result` tells of it, or holds the report of an evaluation. Names and
    hashes are those of then: adapter and dataset may be deleted since.
    """

    __tablename__ = "batches"
    noun, prefix = "batch", "ba"

    kind: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued")
    progress: Mapped[float] = mapped_column(default=0.0)
    adapter_id: Mapped[str | None] = mapped_column(ForeignKey("adapters.id", ondelete="SET NULL"), index=True)
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    model: Mapped[str]
    task: Mapped[str]
    adapter_name: Mapped[str] = mapped_column(default="")
    adapter_sha256: Mapped[str | None]
    dataset_sha256: Mapped[str | None]
    filename: Mapped[str] = mapped_column(default="")
    original_key: Mapped[str | None]
    format: Mapped[str] = mapped_column(default="csv")
    rows: Mapped[int | None]
    result_key: Mapped[str | None]
    cancel: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[Created]
    updated_at: Mapped[Created]
    columns: Mapped[JsonObject] = mapped_column(default=dict)
    options: Mapped[JsonObject] = mapped_column(default=dict)
    steps: Mapped[JsonList] = mapped_column(default=list, server_default="[]")
    quantization: Mapped[str | None]
    result: Mapped[JsonObject | None]
    error: Mapped[JsonObject | None]

    __table_args__ = (Index("ix_batches_newest", "owner_id", "created_at"), Index("ix_batches_working", "state"))


class Prediction(Owned, Base):
    """One question to the playground. `state`: queued, running, ready, failed, cancelled."""

    __tablename__ = "predictions"
    noun, prefix = "prediction", "pr"

    state: Mapped[str] = mapped_column(default="queued")
    cancel: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[Created]
    updated_at: Mapped[Created]
    request: Mapped[JsonObject]
    result: Mapped[JsonObject | None]
    error: Mapped[JsonObject | None]

    __table_args__ = (Index("ix_predictions_newest", "owner_id", "created_at"),
                      Index("ix_predictions_working", "state"))
