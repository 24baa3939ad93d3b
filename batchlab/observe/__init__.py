"""What machines are told of a run: metrics, a log, spans. None of it can end a run that was paid for."""
