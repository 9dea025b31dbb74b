"""The web page and the motion editor."""
