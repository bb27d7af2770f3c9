"""How the tables came to be: Alembic's folder, run by `db.migrate`."""
