"""What the API refuses, beside the refusals of a file (`domain/refusals.py`)."""

from cpro_contracts.problems import ProblemCode

IMPORT_UNKNOWN = ProblemCode("import_unknown", 404, "Import introuvable", "Import not found")
NOT_AWAITING_CONFIRMATION = ProblemCode(
    "import_not_awaiting_confirmation", 409, "Import sans confirmation à donner", "Import not awaiting confirmation"
)
NOT_CANCELLABLE = ProblemCode("import_not_cancellable", 409, "Import déjà terminé", "Import already over")
UPLOAD_EMPTY = ProblemCode("upload_empty", 422, "Aucun fichier reçu", "No file received")
UPLOAD_FIELD_MISSING = ProblemCode("upload_field_missing", 422, "Champ « file » attendu", "Form field “file” expected")
NOT_ACCEPTABLE = ProblemCode("not_acceptable", 406, "Format non disponible", "Format not available")


class ImportCancelledError(Exception):
    """Someone cancelled the import while it ran. Nothing of it is applied."""


class UploadMissingError(Exception):
    """The object store no longer has the upload, or has something else under its key."""


class ImportPostponedError(Exception):
    """This school's database is busy or away, or its events can't be sent. Other schools go first."""
