"""Token counts before the provider has reported any."""

from __future__ import annotations

BYTES_PER_TOKEN = 4  # English prose with the usual tokenizers; CJK and code take more tokens


def estimated_prompt_tokens(prompt_bytes: int) -> int:
    """Prompt tokens by the rule of 4 UTF-8 bytes a token, never less than 1."""
    return max(1, -(-prompt_bytes // BYTES_PER_TOKEN))
