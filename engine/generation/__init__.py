"""Models that write: prompts and templates, many answers at once, how good they are, and samples kept by step."""
