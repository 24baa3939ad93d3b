"""The provider's batch API: files and batches with their states, and what goes wrong with them.

The core (`desk`, `jobs`, `files`, `results`) knows no service; a module each puts it into the words of
OpenAI and those who follow it, Mistral, OpenRouter and Anthropic.
"""
