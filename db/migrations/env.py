"""Runs the revisions on the connection that db.migrate opened."""

from __future__ import annotations

from alembic import context

from db.migrate import CONNECTION, OPTIONS, metadata

context.configure(connection=context.config.attributes[CONNECTION], target_metadata=metadata(), render_as_batch=True,
                  transactional_ddl=True, transaction_per_migration=False, **OPTIONS)
context.run_migrations()
