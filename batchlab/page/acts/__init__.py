"""What may be done about a run from its page: each is a command that is shown, asked for once, and run."""
