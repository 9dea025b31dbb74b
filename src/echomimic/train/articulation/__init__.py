"""Speech to mouth: rebuild the shipped network from synthesised, phone-labelled speech and nothing else.

`python -m echomimic.train.articulation` makes the speech, the labels, the network and its card in some minutes.
"""
