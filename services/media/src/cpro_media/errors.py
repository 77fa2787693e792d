"""What this service refuses, besides what every service does."""

from collections.abc import Mapping

from cpro_contracts.problems import ProblemCode
from cpro_media.domain.images import MAX_PIXELS, ImageKind, Refusal
from cpro_platform.errors import RefusedError

IMAGE_MISSING = ProblemCode("image_missing", 404, "Aucune image enregistrée", "No image stored")
RANGE_NOT_SATISFIABLE = ProblemCode(
    "range_not_satisfiable", 416, "Partie de l'image inexistante", "No such part of the image"
)

REFUSALS: Mapping[Refusal, ProblemCode] = {
    Refusal.EMPTY: ProblemCode(Refusal.EMPTY, 422, "Le fichier est vide", "The file is empty"),
    Refusal.TYPE_NOT_ACCEPTED: ProblemCode(
        Refusal.TYPE_NOT_ACCEPTED, 415, "Ce type de fichier n'est pas accepté", "This type of file is not accepted"
    ),
    Refusal.ANIMATED: ProblemCode(
        Refusal.ANIMATED, 422, "Les images animées ne sont pas acceptées", "Animated images are not accepted"
    ),
    Refusal.TOO_MANY_PIXELS: ProblemCode(
        Refusal.TOO_MANY_PIXELS, 422, "L'image est trop grande", "The image has too many pixels"
    ),
    Refusal.DAMAGED: ProblemCode(Refusal.DAMAGED, 422, "L'image est endommagée", "The image is damaged"),
    Refusal.TRAILING_DATA: ProblemCode(
        Refusal.TRAILING_DATA, 422, "Le fichier contient autre chose qu'une image", "The file holds more than an image"
    ),
    Refusal.TOO_DEMANDING: ProblemCode(
        Refusal.TOO_DEMANDING, 422, "L'image est trop complexe à traiter", "The image takes too much to process"
    ),
    Refusal.VARIANT_NOT_ACCEPTED: ProblemCode(
        Refusal.VARIANT_NOT_ACCEPTED,
        422,
        "Cette variante du format n'est pas acceptée",
        "This variant of the format is not accepted",
    ),
}

ADVICE: Mapping[Refusal, tuple[str, str]] = {
    Refusal.EMPTY: ("Choisissez un fichier PNG, JPEG ou WebP.", "Choose a PNG, JPEG or WebP file."),
    Refusal.TYPE_NOT_ACCEPTED: (
        "Choisissez un fichier PNG, JPEG ou WebP ; les fichiers SVG, GIF, PDF ou HEIC sont à convertir d'abord.",
        "Choose a PNG, JPEG or WebP file; convert SVG, GIF, PDF or HEIC files first.",
    ),
    Refusal.ANIMATED: ("Enregistrez une seule image fixe.", "Save a single still image."),
    Refusal.TOO_MANY_PIXELS: (
        f"Au plus {MAX_PIXELS // 1_000_000} millions de pixels sont acceptés : réduisez ses dimensions.",
        f"At most {MAX_PIXELS // 1_000_000} million pixels are accepted: make it smaller.",
    ),
    Refusal.DAMAGED: (
        "Le fichier est incomplet ou illisible : enregistrez-le de nouveau depuis un logiciel d'image.",
        "The file is incomplete or can't be read: save it again from an image editor.",
    ),
    Refusal.TRAILING_DATA: (
        "Des données suivent l'image : enregistrez-la de nouveau depuis un logiciel d'image.",
        "Data follow the image: save it again from an image editor.",
    ),
    Refusal.TOO_DEMANDING: (
        "Réduisez ses dimensions ou enregistrez-la de nouveau depuis un logiciel d'image.",
        "Make it smaller or save it again from an image editor.",
    ),
    Refusal.VARIANT_NOT_ACCEPTED: (
        "Enregistrez-la en couleurs RVB de 8 bits (sRVB) : PNG, JPEG ordinaire ou progressif, ou WebP.",
        "Save it in RGB colours of 8 bits (sRGB): PNG, ordinary or progressive JPEG, or WebP.",
    ),
}

_NAMES = {ImageKind.LOGO: ("logo", "logo"), ImageKind.STAMP: ("cachet", "stamp")}


def image_refused(refusal: Refusal) -> RefusedError:
    """The image is not accepted, why, and what would help."""
    return RefusedError(REFUSALS[refusal], *ADVICE[refusal])


def image_missing(kind: ImageKind) -> RefusedError:
    """The establishment has no such image."""
    french, english = _NAMES[kind]
    return RefusedError(
        IMAGE_MISSING,
        f"L'établissement n'a pas enregistré de {french}.",
        f"The establishment has not stored a {english}.",
    )
