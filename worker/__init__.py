"""The background side: takes queued runs from the database and carries them out in child processes."""
