"""What a child can be told to do, one order per file; these run in children only and may import torch."""
