"""The routes of the server: the API here, the page and the editor beside it."""
