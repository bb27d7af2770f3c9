"""What an evaluation tells beyond its metrics: how sure they are, and where the model is good and where it is not."""
