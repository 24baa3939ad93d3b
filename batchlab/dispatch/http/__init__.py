"""One attempt over HTTP."""
