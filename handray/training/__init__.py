"""Training in pure torch: batches in, numbers and checkpoints out. No Ray here."""
