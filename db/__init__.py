"""The truth of the studio: tables, one repository per noun, and where files are kept.

How to use it, in the order a reader needs it:

- `db.settings.settings()` says where everything is; `db.migrate.upgrade()` brings the tables up to date.
- `db.users.local()` is the person at the keyboard. Every repository function takes that user first and sees only what
  the user owns: `runs.get(user, run_id)`. There is no unscoped variant.
- Repositories: `datasets`, `models`, `runs` (with `metrics` and `logs`), `adapters`, `compositions`, `batches`,
  `exports`, `predictions`, `workers`. They return rows detached from their session, with every column loaded; changing
  a row object changes nothing.
- The worker's side has no user: `leases` (who works on which run), `journal` (events of a child become rows, exactly
  once), `light` (short jobs), `workers.beat`. `users.owner_of(id)` gives the user to do a job for.
- Times are Unix seconds (float) by the database's clock, so two machines never disagree about a lease.
- Sizes are bytes. JSON columns hold plain dicts and lists; a value that is not finite becomes null.
"""
