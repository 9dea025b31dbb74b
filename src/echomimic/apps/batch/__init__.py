"""Many clips from a manifest: a row a clip."""
