"""One Celery job per file; each only rings, and the work itself is done elsewhere."""
