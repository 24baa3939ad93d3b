"""Token counts before the provider has reported any."""

from __future__ import annotations

from batchlab.errors import UsageError

BYTES_PER_TOKEN = 4  # English prose with the usual tokenizers; CJK and code take more tokens


def estimated_prompt_tokens(prompt_bytes: int) -> int:
    """Prompt tokens by the rule of 4 UTF-8 bytes a token, never less than 1."""
    return max(1, -(-prompt_bytes // BYTES_PER_TOKEN))


class Tokenizer:
    """Counts tokens as a model does, by its `tokenizer.json`; needs the extra `batchlab[tokenizer]`."""

    def __init__(self, path: str) -> None:
        try:
            from tokenizers import Tokenizer as Model
        except ImportError:
            raise UsageError(
                "a tokenizer needs one more package: pip install 'batchlab[tokenizer]'."
            ) from None
        try:
            self._model = Model.from_file(path)
        except Exception as error:  # the library raises plain Exception for a file that it cannot use
            raise UsageError(f"{path}: not a tokenizer.json: {error}.") from error

    def count(self, text: str) -> int:
        """Tokens of a text, without what a chat template adds."""
        return len(self._model.encode(text, add_special_tokens=False).ids)
