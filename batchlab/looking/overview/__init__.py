"""What a person looks at of a run as numbers: what it is, how it went, what it costs, what is wrong."""
