"""Jobs: request, queue, worker process, store and events."""
