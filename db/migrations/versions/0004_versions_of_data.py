"""Versions of datasets, their edits, steps of preparation, and where fetched rows came from."""
# pyright: basic

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Bring the tables up to this revision."""
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("version_of_id", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("version", sa.BigInteger(), server_default="1", nullable=False))
        batch_op.add_column(sa.Column("edits", JSON, server_default="[]", nullable=False))
        batch_op.add_column(sa.Column("steps", JSON, server_default="[]", nullable=False))
        batch_op.add_column(sa.Column("origin", JSON, nullable=True))
        batch_op.create_foreign_key(batch_op.f("fk_datasets_version_of_id"), "datasets", ["version_of_id"], ["id"],
                                    ondelete="SET NULL")
        batch_op.create_index(batch_op.f("ix_datasets_version_of_id"), ["version_of_id"], unique=False)
