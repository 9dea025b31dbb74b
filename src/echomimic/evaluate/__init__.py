"""Metrics of talking videos that anyone can repeat, each with its definition, and a card that says how it was taken."""
