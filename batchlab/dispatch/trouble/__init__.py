"""Whose trouble a failed attempt is: the row's, the endpoint's, or the run's."""
