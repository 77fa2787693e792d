"""What makes the demo fail."""

from cpro_embedded.errors import EmbeddedError


class DemoFailedError(EmbeddedError):
    """Something is not as it must be. The message is the `<why>` of the last line."""
