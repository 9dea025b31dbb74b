"""Faces, bodies and hands in a picture: detection, landmarks, head pose, crop, topology."""
