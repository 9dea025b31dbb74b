"""Train the shipped speech-to-mouth network on synthesized speech with phone labels.

`python -m echomimic.train.articulation` makes the speech, the labels, the network and its model card.
"""
