"""Jobs: request, runner, worker process, store, queue and events."""
