"""Looking through rows for what takes reading: a text in any case, or a condition on any column."""
