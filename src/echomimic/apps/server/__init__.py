"""The HTTP server: the API, the page and the editor. Started by `echomimic serve`."""
