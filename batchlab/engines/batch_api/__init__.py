"""Shards by batch APIs: packed, ordered once, waited for, and merged into the same journals."""
