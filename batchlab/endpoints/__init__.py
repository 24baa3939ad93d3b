"""Endpoints that batchlab starts itself, on loopback."""
