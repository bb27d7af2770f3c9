"""Methods, tasks, data and training: pure of web, queue and database."""

__version__ = "0.1.0"
