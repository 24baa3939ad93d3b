"""From a file to requests: sources, templates, requests, plan."""
