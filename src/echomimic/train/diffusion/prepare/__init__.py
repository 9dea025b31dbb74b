"""Prepare raw videos for training: cut, track, filter, align the sound, write clips with the reason for each drop."""
