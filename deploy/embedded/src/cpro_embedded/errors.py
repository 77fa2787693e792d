"""What can go wrong with the embedded servers, each saying what to do."""


class EmbeddedError(Exception):
    """Base of everything that this package raises on purpose."""


class ServerFailedError(EmbeddedError):
    """A server ended, or did not answer in time. The message carries the end of its log."""


class FolderInUseError(EmbeddedError):
    """Another running stack owns the data folder: stop it, or choose another folder."""


class MissingPrerequisiteError(EmbeddedError):
    """Java, Maven or a server's binary is not installed: run `make setup`."""
