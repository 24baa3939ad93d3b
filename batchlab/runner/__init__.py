"""The one place that knows the whole chain: from a job to its results.

Import from its modules: a name here would make every command wait for the imports of all.
"""
