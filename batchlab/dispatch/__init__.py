"""From requests to results: rate control, retries, transport, worker pool."""
