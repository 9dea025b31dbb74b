"""Front ends: thin layers over `echomimic.api`."""
