"""Batch APIs: the same requests, answered later for less."""
