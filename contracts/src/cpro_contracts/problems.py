"""The stable codes of what can go wrong at the HTTP border, each with its status and its words.

RFC 9457: `type` is the code's page, `title` its sentence, `detail` what was found this time. A service declares its
own codes as `ProblemCode` values beside its handlers; these are the ones that every service answers.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProblemCode:
    """A kind of problem: its stable code, its HTTP status, and its title in the two languages."""

    code: str
    status: int
    title_fr: str
    title_en: str

    def title(self, language: str) -> str:
        """The title in `language` (`fr` or `en`)."""
        return self.title_en if language == "en" else self.title_fr


UNAUTHENTICATED = ProblemCode("unauthenticated", 401, "Identification requise", "Authentication required")
TOKEN_INVALID = ProblemCode("token_invalid", 401, "Jeton d'accès refusé", "Access token refused")
FORBIDDEN = ProblemCode("forbidden", 403, "Accès non autorisé", "Access denied")
NOT_FOUND = ProblemCode("not_found", 404, "Ressource introuvable", "Resource not found")
METHOD_NOT_ALLOWED = ProblemCode("method_not_allowed", 405, "Méthode non prise en charge", "Method not allowed")
INVALID_REQUEST = ProblemCode("invalid_request", 422, "Requête invalide", "Invalid request")
INVALID_UAI = ProblemCode("invalid_uai", 422, "Code UAI invalide", "Invalid UAI")
ESTABLISHMENT_UNKNOWN = ProblemCode(
    "establishment_unknown", 404, "Établissement inconnu de CPro", "Establishment not known to CPro"
)
PAYLOAD_TOO_LARGE = ProblemCode("payload_too_large", 413, "Fichier trop volumineux", "Payload too large")
PRECONDITION_REQUIRED = ProblemCode("precondition_required", 428, "En-tête If-Match requis", "If-Match header required")
PRECONDITION_FAILED = ProblemCode(
    "precondition_failed", 412, "La fiche a été modifiée entre-temps", "The resource has changed meanwhile"
)
IDEMPOTENCY_KEY_REUSED = ProblemCode(
    "idempotency_key_reused", 422, "Idempotency-Key déjà utilisée", "Idempotency-Key already used"
)
IDEMPOTENCY_KEY_IN_USE = ProblemCode(
    "idempotency_key_in_use", 409, "Requête déjà en cours de traitement", "Request already being handled"
)
TOO_MANY_REQUESTS = ProblemCode(
    "too_many_requests", 429, "Trop de requêtes en peu de temps", "Too many requests in a short time"
)
UNAVAILABLE = ProblemCode(
    "service_unavailable", 503, "Service momentanément indisponible", "Service temporarily unavailable"
)
INTERNAL = ProblemCode("internal_error", 500, "Erreur interne", "Internal error")

COMMON: tuple[ProblemCode, ...] = (
    UNAUTHENTICATED,
    TOKEN_INVALID,
    FORBIDDEN,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    INVALID_REQUEST,
    INVALID_UAI,
    ESTABLISHMENT_UNKNOWN,
    PAYLOAD_TOO_LARGE,
    PRECONDITION_REQUIRED,
    PRECONDITION_FAILED,
    IDEMPOTENCY_KEY_REUSED,
    IDEMPOTENCY_KEY_IN_USE,
    TOO_MANY_REQUESTS,
    UNAVAILABLE,
    INTERNAL,
)
