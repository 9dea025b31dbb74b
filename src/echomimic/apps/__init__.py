"""The doors: thin skins over `echomimic.api`."""
