"""What never sends: status, answers, books and reports of a run."""
