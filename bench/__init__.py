"""Measurements of what is promised, each beside its peer or its limit: `python -m bench`."""
