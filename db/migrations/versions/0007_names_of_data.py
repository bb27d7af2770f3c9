"""Runs remember what the datasets they used were called."""
# pyright: basic

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Bring the tables up to this revision; runs whose datasets are still there learn their names."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("data_names", JSON, server_default="{}", nullable=False))
    runs = sa.table("runs", sa.column("id"), sa.column("dataset_id"), sa.column("eval_dataset_id"),
                    sa.column("data_names", JSON))
    datasets = sa.table("datasets", sa.column("id"), sa.column("name"), sa.column("filename"))
    found = op.get_bind()
    known = {id: {"name": name, "file": file or ""} for id, name, file in found.execute(sa.select(datasets))}
    for id, train, held, _ in found.execute(sa.select(runs)).all():
        names = {part: known[one] for part, one in (("train", train), ("eval", held)) if one in known}
        if names:
            found.execute(sa.update(runs).where(runs.c.id == id).values(data_names=names))
