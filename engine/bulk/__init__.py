"""Many rows at once: a file with predictions beside its rows, and how good a trained result is on other data."""
