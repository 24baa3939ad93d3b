"""One budget lent to several processes."""
