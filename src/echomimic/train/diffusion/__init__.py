"""Train the networks of V1 and V2 on voice and landmarks together; see docs/training.md."""
