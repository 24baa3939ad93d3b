"""Runs on a page: served on loopback for as long as somebody looks, or written as one file."""
