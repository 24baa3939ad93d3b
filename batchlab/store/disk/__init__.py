"""Files that outlive a crash: durable writes, locks, fences."""
