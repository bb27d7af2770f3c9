"""Datasets: recognise by content, read, map columns, describe, check and split. No torch."""
