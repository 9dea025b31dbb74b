"""The mesh engine: a portrait moved by a face mesh. CPU only, no weights to fetch."""
