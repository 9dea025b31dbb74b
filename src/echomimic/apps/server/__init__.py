"""The HTTP door: durable jobs, and video that plays while it renders. Started by `echomimic serve`."""
